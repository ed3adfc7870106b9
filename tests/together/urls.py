"""The pages of the project with seven queues."""

from __future__ import annotations

from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.urls import path

from immortus_channels.urls import immortus_jobs
from tests.together import tasks

PAGE = """{% load immortus %}<!doctype html><html lang="en"><title>Seven queues</title>{% immortus_script %}
<h1>Seven queues</h1>
<ul>{% for queue, id in jobs.items %}<li>{{ queue }}: {% immortus_job id label=queue %}</li>{% endfor %}</ul></html>
"""


def log_in(request: HttpRequest, name: str) -> HttpResponse:
    """Let a visitor in."""
    login(request, get_user_model().objects.get_or_create(username=name)[0])
    return HttpResponse(request.META.get("CSRF_COOKIE", ""))


def start(request: HttpRequest, queue: str, what: str) -> JsonResponse:
    """Start a job of this queue."""
    return JsonResponse({"job_id": tasks.start(queue, what)})


def start_as(request: HttpRequest, job_id: str) -> HttpResponse:
    """Send a task of RQ's under this id."""
    tasks.by_rq.enqueue("paints", job_id=job_id)
    return HttpResponse("sent")


def page(request: HttpRequest) -> HttpResponse:
    """Start a job of each queue, and show them."""
    jobs = {queue: tasks.start(queue, request.GET["what"]) for queue in tasks.SEND}
    template = engines["django"].from_string(PAGE)
    return HttpResponse(template.render({"jobs": jobs}, request))


urlpatterns = [
    path("log-in/<name>", log_in),
    path("start/<queue>/<what>", start),
    path("start-as/<job_id>", start_as),
    path("page", page),
    *immortus_jobs(),
]
