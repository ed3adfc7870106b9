"""A classroom, and what moves its students."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from classrooms.forms import TransferForm
from classrooms.models import Classroom, Student
from classrooms.tasks import create_transfer


@require_safe
def classrooms(_request: HttpRequest) -> HttpResponse:
    """Go to a classroom with somebody in it."""
    return redirect("classroom", Student.objects.values_list("classroom", flat=True).first())


@require_safe
def classroom(request: HttpRequest, classroom_id: int) -> HttpResponse:
    """A classroom, its students, and where they could go."""
    rooms = Classroom.objects.annotate(taken=Count("students"))
    context = {"classroom": get_object_or_404(rooms, pk=classroom_id), "rooms": rooms}
    return render(request, "classrooms/classroom.html", context)


@require_POST
def transfer(request: HttpRequest, classroom_id: int) -> HttpResponse:
    """Start a transfer, and wait for it on the job's page."""
    classroom = get_object_or_404(Classroom, pk=classroom_id)
    form = TransferForm(classroom, request.POST)
    if not form.is_valid():
        messages.error(request, "Choose who is to move, and where to.")
        return redirect("classroom", classroom_id)
    return redirect(create_transfer(classroom, **form.cleaned_data))
