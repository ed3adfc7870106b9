"""`RunMarathonController`"""

from __future__ import annotations

import json

from django.http import JsonResponse
from django.shortcuts import render

from immortus_channels import render_immortus
from tests.seeds.races.job_states import RunMarathon
from tests.seeds.races.tasks import run_marathon


def run(request):
    job = run_marathon.delay(**json.loads(request.body or b"{}"))
    return render_immortus(request, job)


def page(request):
    return render(request, "races/race.html", {"job_uuids": request.GET.getlist("job")})


def announce(request, job_uuid):
    """The three kinds of information that a job state object holds."""
    job_state = RunMarathon.find(job_uuid)
    if request.method == "POST":
        job_state.set_progress_metric("spectators", int(request.body))
    return JsonResponse(
        {
            "params": dict(job_state.params),
            "metrics": dict(job_state.progress_metrics),
            "working": job_state.is_working,
            "success": job_state.is_success,
            "error": job_state.is_error,
        }
    )
