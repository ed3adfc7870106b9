"""The controllers of the ancestors' texts, and a page for the JavaScript of each."""

from __future__ import annotations

import json
import uuid

from django.http import JsonResponse
from django.shortcuts import render

from immortus_channels import job_info, render_immortus
from tests.project.seeds import tasks


def process_image(request):
    record = request.GET.get("record")
    if record == "refused":
        return render_immortus(request, None)
    job = tasks.process_image.delay(record)
    request.session["job"] = job_info(request, job)
    return render_immortus(request, job)


def image_page(request):
    return render(request, "seeds/image.html", {"job": request.session.get("job")})


def generate_job(request):
    job = tasks.my_job.delay()
    return render_immortus(request, job)


def refuse_job(request):
    return render_immortus(request, None)


def forget_job(request):
    """A job of which nothing is on record."""
    return render_immortus(request, str(uuid.uuid4()))


def generate_job_with_custom_verify(request):
    job = tasks.job_custom_verify.delay()
    return render_immortus(request, job)


def job_custom_verify(request, job_id):
    strategy = tasks.job_custom_verify.strategy
    return JsonResponse({"completed": strategy.completed(job_id), "percentage": strategy.percentage(job_id)})


def documentation_page(request):
    return render(request, "seeds/documentation.html")


def run_marathon(request):
    job = tasks.run_marathon.delay(**json.loads(request.body or b"{}"))
    return render_immortus(request, job)


def marathon_page(request):
    return render(request, "seeds/marathon.html", {"job_uuids": request.GET.getlist("job")})
