"""Everything that a tenant's site does with jobs."""

from __future__ import annotations

import json

from celery import chain
from django.contrib.auth import get_user_model, login
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.template import engines
from django.views.decorators.csrf import csrf_exempt
from django_tenants.utils import schema_context

from immortus_channels import JobNotFound, JobRepository, JobState, access_token, get_job, render_immortus
from tests.tenants.shop import tasks


def log_in(request, name):
    login(request, get_user_model().objects.get(username=name), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse(name)


@csrf_exempt
def start(request, name):
    options = json.loads(request.body or b"{}")
    result = getattr(tasks, name).apply_async(kwargs=options.pop("kwargs", {}), **options)
    return render_immortus(request, result)


@csrf_exempt
async def start_async(request, job_id):
    return render_immortus(request, tasks.imports.apply_async(task_id=job_id))


def streamed(request, job_id):
    """Start a job while the answer is sent."""

    def parts():
        yield "begun "
        yield tasks.imports.apply_async(task_id=job_id).id

    return StreamingHttpResponse(parts())


@csrf_exempt
def start_chain(request, job_id):
    last = tasks.imports.si().set(task_id=job_id)
    return render_immortus(request, chain(tasks.untracked_starts_a_chain.si(), last).apply_async())


def elsewhere(request, job_id):
    """Start a job in another tenant, before anything has asked who the user is."""
    with schema_context("b"):
        JobRepository().create(job_id)
    return HttpResponse(str(request.user))


@csrf_exempt
def create(request, job_id):
    return render_immortus(request, JobRepository().create(job_id, kept="here"))


def api(request, job_id):
    """What a view of the tenant learns of this id, by every name of the package."""
    try:
        job = get_job(job_id, user=request.user)
    except JobNotFound:
        found = None
    else:
        found = {"id": job.id, "owner": job.owner, "document": job.document["job_id"], "page": job.page_url}
    listed = {
        "all": [each.id for each in JobState.all()],
        "mine": [each.id for each in JobState.filter(owner=request.user)],
        "by_key": [each.id for each in JobState.filter(owner=str(request.user.pk))],
    }
    try:
        JobRepository().find(job_id)
    except JobNotFound:
        return JsonResponse({"found": found, "is_there": False, **listed})
    return JsonResponse({"found": found, "is_there": True, **listed})


def token(request, job_id):
    return HttpResponse(access_token(job_id, request.user))


def page(request, job_id):
    tag = engines["django"].from_string("{% load immortus %}{% immortus_script %}{% immortus_job job %}")
    try:
        job = get_job(job_id, user=request.user)
    except JobNotFound:
        job = job_id
    return HttpResponse(f"{get_token(request)} {tag.render({'job': job}, request)}")
