"""Start any task, in every way a view may."""

from __future__ import annotations

import json
import threading
import time
import uuid

from celery import chain, chord, group
from django.contrib import messages
from django.contrib.auth import get_user_model, login, logout
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template import engines
from django.views.decorators.csrf import csrf_exempt

import immortus_channels
from immortus_channels import JobFailed, JobRepository, access_token, render_immortus
from tests.project.shop import tasks, transactions


@csrf_exempt
def start(request, name):
    options = json.loads(request.body or b"{}")
    result = getattr(tasks, name).apply_async(kwargs=options.pop("kwargs", {}), **options)
    return render_immortus(request, result)


@csrf_exempt
def start_under_any_id(request, name):
    """Jobs under ids that are no text, some that can be no job's, and one more, in the same moment; with their tags."""
    ids = [uuid.uuid4(), uuid.uuid4().int >> 80, "x" * 300, "a\0b", None]
    task = getattr(tasks, name)
    results = [task.apply_async(task_id=task_id, countdown=float(request.GET["countdown"])) for task_id in ids]
    tag = engines["django"].from_string("{% load immortus %}{% immortus_job job %}")
    followed = [result for result in results if result.id not in ids[2:4]]
    return JsonResponse({str(result.id): tag.render({"job": result}) for result in followed})


@csrf_exempt
def start_in_transaction(request, name):
    seconds, rolled_back = float(request.GET.get("seconds", 1)), "rollback" in request.GET
    with transaction.atomic():
        result = getattr(tasks, name).apply_async(task_id=request.GET.get("task_id"))
        time.sleep(seconds)
        if rolled_back:
            transaction.set_rollback(True)
    return render_immortus(request, result)


@csrf_exempt
def read_then_write(request, name):
    transactions.read_then_write(transactions.everything_else, name)
    return HttpResponse()


@csrf_exempt
async def start_async(request, name):
    return render_immortus(request, getattr(tasks, name).delay())


@csrf_exempt
def make(request, job_id):
    job = JobRepository().create(id=job_id, made="by hand")
    if "end" in request.GET:
        getattr(job, request.GET["end"])()
    return JsonResponse({})


async def async_make(request, job_id):
    job = await JobRepository().acreate(id=job_id)
    return JsonResponse(job.document)


async def async_say(request, job_id):
    immortus_channels.JobHandle(job_id).update(message="on the loop")
    return JsonResponse({})


async def async_stop(request, job_id):
    job = await immortus_channels.aget_job(job_id)
    await job.acancel()
    return JsonResponse(job.document)


@csrf_exempt
def start_on_commit(request):
    with transaction.atomic():
        result = tasks.own_table.delay_on_commit()
        return render_immortus(request, result)


@csrf_exempt
def canvas(request, name):
    result = CANVASES[name]().apply_async()
    response = render_immortus(request, result)
    members = []
    while result is not None:
        members.append(result.id)
        result = result.parent
    return JsonResponse({**json.loads(response.content), "members": members[::-1]})


CANVASES = {
    "chain": lambda: chain(tasks.link.si(1), tasks.link.s(), tasks.link.s()),
    "broken_chain": lambda: chain(tasks.link.si(1), tasks.broken_link.s(), tasks.link.s(), tasks.link.s()),
    "late_chain": lambda: chain(tasks.link.si(1).set(countdown=2), tasks.link.s(), tasks.link.s()),
    "ignored_chain": lambda: chain(tasks.ignores.si(), tasks.quick.si()),
    "rejected_chain": lambda: chain(tasks.requeues_too_late.si(), tasks.quick.si()),
    "replaced_link": lambda: chain(tasks.replaces_itself.si("untracked"), tasks.quick.si()),
    "two_links": lambda: chain(tasks.steps.si(5, 0.2), tasks.quick.si()),
    "two_groups": lambda: chain(
        group(tasks.link.si(1), tasks.link.si(2)), group(tasks.link.si(1), tasks.broken_link.si()), tasks.gather.s()
    ),
    "chord_of_chains": lambda: chord(
        [chain(tasks.broken_link.si(), tasks.link.s()), tasks.link.si(1)], tasks.gather.s()
    ),
    "group_in_the_middle": lambda: chain(
        tasks.link.si(1), group(tasks.link.s(), tasks.broken_link.s()), tasks.gather.s(), tasks.link.s()
    ),
    "chord": lambda: chord([tasks.link.si(1), tasks.link.si(2)], tasks.gather.s()),
    "untracked_first": lambda: chain(tasks.untracked_value.si(1), tasks.link.s()),
    "untracked_header": lambda: chord([tasks.untracked_value.si(1), tasks.untracked_value.si(2)], tasks.gather.s()),
    "untracked_and_ignored": lambda: chain(tasks.untracked_and_ignored.si(), tasks.link.si(1)),
    "untracked_and_called_retried": lambda: chain(tasks.untracked_writes_and_ignores.si("RETRY"), tasks.link.si(1)),
    "untracked_replacement": lambda: chain(tasks.untracked_replacement.si(), tasks.link.s()),
    "untracked_crash": lambda: chain(tasks.untracked_crash.si(), tasks.untracked.si(), tasks.link.si(1)),
    "untracked_exit": lambda: chain(tasks.untracked_exit.si(), tasks.link.si(1)),
    "untracked_and_too_long": lambda: chain(tasks.untracked_and_too_long.si(), tasks.link.si(1)),
    "late_and_untracked": lambda: chain(tasks.untracked.si().set(countdown=30), tasks.link.si(1)),
    "broken_chord": lambda: chord([tasks.link.si(1), tasks.broken_link.si()], tasks.gather.s()),
}


@csrf_exempt
def linked(request, name, job_id):
    """A task that is not tracked, and a job that comes of it."""
    LINKED[name](tasks.gather.si([1]).set(task_id=job_id))  # Celery calls one of two arguments itself
    return HttpResponse(status=202)


LINKED = {
    "link": lambda job: tasks.untracked_value.apply_async((1, 0.1), link=job),
    "link_error": lambda job: tasks.untracked_crash.apply_async(link_error=job),
    "time_limit": lambda job: tasks.untracked_and_too_long.apply_async(link_error=job),
    "link_of_a_link": lambda job: tasks.untracked_value.apply_async(
        (1, 0.1), link=tasks.untracked_value.si().set(link=[job])
    ),
    "link_of_a_chain": lambda job: chain(tasks.untracked_value.si(1, 0.1), tasks.untracked_value.s()).apply_async(
        link=job
    ),
    "chain_as_link": lambda job: tasks.untracked_value.apply_async(
        (1, 0.1), link=chain(tasks.untracked_value.s(), job)
    ),
    "group_as_link": lambda job: tasks.untracked_value.apply_async((1, 0.1), link=group(tasks.link.s(), job)),
    "started_by_a_link": lambda job: chain(
        tasks.untracked_value.si(1, 0.1), tasks.starts_another.si(job.options["task_id"])
    ).apply_async(),
}


def log_in(request, name):
    user, _ = get_user_model().objects.get_or_create(username=name, is_staff=name == "boss")
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse(name)


def log_out(request):
    logout(request)
    return HttpResponse("nobody")


def token(request, job_id):
    """An access token for whoever is logged in."""
    return HttpResponse(access_token(job_id, request.user, life=float(request.GET.get("life", 900))))


def page(request):
    return render(request, "shop/page.html", {"jobs": request.GET.getlist("job")})


def transfer(request):
    """A job without a queue, in a thread of the web server; the viewer waits on its page."""
    job = JobRepository().create(handler="transfer", was_it_nice="unknown")
    threading.Thread(target=_transfer, args=[job, request.GET.dict()], daemon=True).start()
    return redirect(job)


def _transfer(job, options):
    with job.running() as running:
        for n in running.track(range(int(options.get("steps", 10))), message="Moving chairs"):
            time.sleep(0.2)
            if options.get("end") == "failed" and n == 1:
                raise JobFailed("too_small", "The room is <b>too small</b>.")
        running.data["was_it_nice"] = options.get("nice", "yes_it_was")


def flashes(request):
    return HttpResponse("|".join(map(str, messages.get_messages(request))) or "nothing to say")
