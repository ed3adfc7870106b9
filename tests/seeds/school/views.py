"""`ClassroomController`, with its handler inside"""

from __future__ import annotations

from django.contrib import messages
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from immortus_channels import JobHandler
from tests.seeds.school.tasks import WasItNice, create_async_job


class Classroom(View):
    def get(self, request, classroom_id):
        return render(request, "school/classroom.html", {"classroom_id": classroom_id})

    class NiceJobHandler(JobHandler):
        def header(self):
            return "The Header on the Spinner Page"

        def message(self):
            return "This message appears to the user on the spinner page as body text."

        def next_url(self, request):
            return reverse("classroom", args=[self.job.data["classroom_id"]])

        def on_ready(self, request):
            if self.job.data["was_it_nice"] == WasItNice.YES_IT_WAS:
                messages.success(request, "IT WAS SO NICE.")
            else:
                messages.error(request, "ERROR being nice")


def a_nice_action(request, classroom_id):
    handler_class = "tests.seeds.school.views.Classroom.NiceJobHandler"
    job = create_async_job(classroom_id, handler_class, nice="nasty" not in request.GET)
    return redirect(job)
