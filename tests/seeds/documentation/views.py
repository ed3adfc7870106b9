"""The controllers of the documentation, and a page for its JavaScript."""

from __future__ import annotations

import json
import time
import uuid

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render

from immortus_channels import get_strategy, render_immortus
from tests.seeds.documentation import tasks
from tests.seeds.documentation.models import DelayedJob, Video


def page(request):
    return render(request, "documentation/page.html")


def generate_job(request):
    job = tasks.my_job.delay()
    return render_immortus(request, job)


def generate_any_job(request, name):
    job = getattr(tasks, name).delay(*json.loads(request.body or "[]"))
    return render_immortus(request, job)


def refuse_job(request):
    return render_immortus(request, None)


def forget_job(request):
    """A job of which nothing is on record."""
    return render_immortus(request, str(uuid.uuid4()))


def outrun_job(request):
    """A job that is over before this answer arrives."""
    job = tasks.my_custom_job.delay(0)
    strategy = get_strategy(tasks.my_custom_job)
    while not strategy.completed(job.id):
        time.sleep(0.05)
    time.sleep(0.5)
    return render_immortus(request, job)


def generate_job_with_custom_verify(request):
    job = tasks.job_custom_verify.delay()
    return render_immortus(request, job)


def job_custom_verify(request, job_id):
    strategy = tasks.job_custom_verify.strategy

    return JsonResponse({"completed": strategy.completed(job_id), "percentage": strategy.percentage(job_id)})


def process_video(request):
    video = Video.objects.create(premium="premium" in request.GET)
    job = tasks.process_video.delay(video.pk if "deleted" not in request.GET else 0)
    return render_immortus(request, job)


def persist_delayed(request, job_id):
    """What Delayed::Job does: keep a record, take it, count its tries, delete it at the end."""
    if request.method == "DELETE":
        DelayedJob.objects.all().delete()
    else:
        DelayedJob.objects.update_or_create(handler=f"--- job_id: {job_id}", defaults=json.loads(request.body))
    return HttpResponse(status=204)
