"""The HTTP half of the protocol: verify and cancel, always answered as JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import cast

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers

from immortus_channels import access, fetching, tracking
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.ids import is_job_id
from immortus_channels.jobs import JSON, Job, dump
from immortus_channels.shortcuts import HEADERS

logger = logging.getLogger("immortus_channels")

View = Callable[..., HttpResponseBase]

MAX_JOBS = 100
RETRY_AFTER = 2
"""Seconds after which a store that is down may be asked again."""


def json_view(*methods: str) -> Callable[[View], View]:
    """A view that answers by itself, whatever happens: wrong method, no login, no store, a broken strategy.

    It runs outside `ATOMIC_REQUESTS`, because what it reads and writes is not the request's.
    """

    def decorate(view: View) -> View:
        @login_not_required
        @transaction.non_atomic_requests
        @wraps(view)
        def answer(request: HttpRequest, job_id: str | None = None, job_class: str | None = None) -> HttpResponseBase:
            response = _answered(view, methods, request, job_id, job_class)
            for name, value in HEADERS.items():
                response.headers[name] = value
            patch_vary_headers(response, ["Cookie"])
            return response

        return cast("View", answer)

    return decorate


def _answered(
    view: View, methods: tuple[str, ...], request: HttpRequest, job_id: str | None, job_class: str | None
) -> HttpResponseBase:
    if request.method not in methods:
        response = error(405, "method_not_allowed", f"Use {' or '.join(methods)}.", job_id)
        response.headers["Allow"] = ", ".join(methods)
        return response
    try:
        return view(request, job_id, job_class)
    except StoreUnavailable:
        logger.warning("The store cannot be reached; requests are answered with 503")
        response = error(503, "store_unavailable", "The state of jobs cannot be told at the moment.", job_id)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response
    except SuspiciousOperation:
        return error(400, "bad_request", "This request cannot be read.", job_id)
    except Exception:
        logger.exception("The state of %r cannot be told", job_id, extra={"job_id": job_id})
        return error(500, "strategy_error", "The state of this job cannot be told.", job_id)


@json_view("GET", "HEAD")
def verify(request: HttpRequest, job_id: str | None, job_class: str | None) -> HttpResponseBase:
    """The document of the job named in the path, or of every job named in the query."""
    if job_id is None:
        return _verify_many(request, request.GET.getlist("job_id"))
    job = seen(request, [job_id], job_class or "").get(job_id)
    if job is None:
        return unknown(request, job_id)
    if job_class is not None and job_class != job.job_class:
        return error(409, "wrong_job_class", "This is not a job of that class.", job_id)
    etag = f'"{job.version}"'
    response = get_conditional_response(request, etag=etag, response=_json(job.text))
    assert response is not None  # noqa: S101 - one was given
    response.headers["ETag"] = etag
    return response


def _verify_many(request: HttpRequest, job_ids: list[str]) -> HttpResponse:
    if not 0 < len(job_ids) <= MAX_JOBS:
        return error(400, "bad_request", f"Name 1 to {MAX_JOBS} jobs as ?job_id=…&job_id=…", None)
    jobs = seen(request, job_ids)
    answers = [jobs[job_id].text if job_id in jobs else dump(_unknown(request, job_id)) for job_id in job_ids]
    return _json(f'{{"jobs":[{",".join(answers)}]}}')


@json_view("POST")
def cancel(request: HttpRequest, job_id: str | None, job_class: str | None) -> HttpResponse:  # noqa: ARG001
    """Ask for the job's cancellation; the job named in the path, or in the query."""
    job_id = request.GET.get("job_id", "") if job_id is None else job_id
    job = seen(request, [job_id]).get(job_id)
    if job is None:
        return unknown(request, job_id)
    if job.is_over or job.cancel == "never" or not access.may_cancel(access.user_of(request), job):
        return _not_cancellable(job)
    after = tracking.cancel(job_id)
    if after is None:
        return unknown(request, job_id)
    return _json(after.text, 202) if after.cancel_requested else _not_cancellable(after)


def seen(request: HttpRequest, job_ids: list[str], job_class: str = "") -> dict[str, Job]:
    """Those of the jobs that there are and that the user may see: unknown and not-yours look the same from here on."""
    wanted = {job_id for job_id in job_ids if is_job_id(job_id)}
    jobs = tracking.read(wanted)
    for job_id in wanted - jobs.keys():
        job = fetching.fetch(access.user_of(request), job_id, job_class)
        if job is not None:
            jobs[job_id] = job
    return {job_id: job for job_id, job in jobs.items() if access.may_see(access.user_of(request), job)}


# Answers


def unknown(request: HttpRequest, job_id: str) -> HttpResponse:
    """404, for a job that is unknown, expired, or not this user's."""
    return _json(dump(_unknown(request, job_id)), 404)


def _unknown(request: HttpRequest, job_id: str) -> dict[str, JSON]:
    told: dict[str, JSON] = {
        "job_id": job_id,
        "error": {"code": "unknown_job", "message": "There is no such job, or it is not yours to see."},
    }
    return told if access.user_of(request).is_authenticated else {**told, "authenticated": False}


def error(status: int, code: str, message: str, job_id: str | None) -> HttpResponse:
    """An error, in words that are safe for end users."""
    return _json(dump({"job_id": job_id, "error": {"code": code, "message": message}}), status)


def _not_cancellable(job: Job) -> HttpResponse:
    """409: the document as it stands, but for its error, which is why it was not cancelled."""
    error: JSON = {"code": "not_cancellable", "message": "This job cannot be cancelled."}
    return _json(dump({**job.document, "error": error}), HTTPStatus.CONFLICT)


def _json(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="application/json")
