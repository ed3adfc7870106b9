"""The page of the marathons, and what starts one."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from immortus_channels.exceptions import JobNotFound
from races.courses import COURSES, MILES
from races.job_states import RunMarathon
from races.tasks import run_marathon

SHOWN = 6
"""As many of a visitor's latest marathons are on the page."""


@require_safe
def marathons(request: HttpRequest) -> HttpResponse:
    """The visitor's marathons, each as it stands now."""
    context = {"races": list(_races(request)), "courses": COURSES.values(), "miles": MILES}
    return render(request, "races/marathons.html", context)


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Start a marathon, and go back to the page."""
    course = request.POST.get("course", "")
    if course not in COURSES:
        raise Http404(course)
    job = run_marathon.delay(course)
    request.session["marathons"] = [job.id, *request.session.get("marathons", [])][:SHOWN]
    return redirect("marathons")


def _races(request: HttpRequest) -> Iterator[RunMarathon]:
    for job_id in request.session.get("marathons", []):
        try:
            yield RunMarathon.find(job_id, user=request.user)
        except JobNotFound:
            continue
