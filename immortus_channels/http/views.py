"""The HTTP half of the protocol: verify, cancel and new tokens, always answered as JSON."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import cast

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.http import parse_etags

from immortus_channels import protocol, tracking
from immortus_channels.access import permissions, quotas
from immortus_channels.access.quotas import TooManyRequests
from immortus_channels.access.tokens import GRACE, TokenExpired
from immortus_channels.api.shortcuts import keep_private
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.http import csrf, unrecorded
from immortus_channels.http.authentication import Caller, caller_of
from immortus_channels.http.concurrency import turn
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.job import JSON, Job, dump
from immortus_channels.keys import key_of, name_in
from immortus_channels.logs import logger
from immortus_channels.stores.base import Reading
from immortus_channels.tracking.rules import User

View = Callable[..., HttpResponseBase]

RETRY_AFTER = 2
"""Seconds after which a client may ask again when the store is down."""


def json_view(*methods: str, grace: float = 0.0) -> Callable[[View], View]:
    """Return a decorator for views that always answer in JSON: wrong method, no login, no store, a broken strategy.

    The view takes access tokens until `grace` seconds after their end, and runs outside `ATOMIC_REQUESTS`, because what
    it reads and writes does not belong to the request.
    """

    def decorate(view: View) -> View:
        @login_not_required
        @transaction.non_atomic_requests
        @wraps(view)
        def answer(request: HttpRequest, job_id: str | None = None, job_class: str | None = None) -> HttpResponseBase:
            if request.method in methods:
                response = _answer(request, job_id, lambda caller: view(request, caller, job_id, job_class), grace)
            else:
                allowed = {"Allow": ", ".join(methods)}
                response = error(405, "method_not_allowed", f"Use {' or '.join(methods)}.", job_id, allowed)
            keep_private(response)
            patch_vary_headers(response, ["Cookie", "Authorization"])
            return response

        return cast("View", answer)

    return decorate


def _answer(
    request: HttpRequest, job_id: str | None, view: Callable[[Caller], HttpResponseBase], grace: float
) -> HttpResponseBase:
    try:
        with turn() as current_turn:
            caller = caller_of(request, grace=grace)
            quotas.ask(caller.account)
            current_turn.charge(caller.account)
            return view(caller)
    except TooManyRequests as refused:
        message, headers = "Too many requests; please wait a moment.", {"Retry-After": str(refused.wait)}
        return error(429, "rate_limited", message, job_id, headers)
    except TokenExpired:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        return error(401, "token_expired", protocol.TOKEN_EXPIRED, job_id, headers)
    except StoreUnavailable as unavailable:
        logger.warning("The server answers a request with 503: %s", unavailable)
        message, headers = "The state of jobs is not available at the moment.", {"Retry-After": str(RETRY_AFTER)}
        return error(503, "store_unavailable", message, job_id, headers)
    except SuspiciousOperation:
        return error(400, "bad_request", "This request cannot be read.", job_id)
    except Exception:
        logger.exception("The state of %r is not available", job_id, extra={"job_id": job_id})
        return error(500, "strategy_error", protocol.STRATEGY_ERROR, job_id)


@json_view("GET", "HEAD")
def verify(request: HttpRequest, caller: Caller, job_id: str | None, job_class: str | None) -> HttpResponseBase:
    """Answer with the document of the job named in the path, or of every job named in the query."""
    if job_id is None:
        return _verify_many(caller, request.GET.getlist("job_id"))
    job = visible_jobs(caller, [job_id], job_class or "").get(job_id)
    if job is None:
        return unknown(caller, job_id)
    if job_class is not None and job_class != job.job_class:
        return error(409, "wrong_job_class", "This is not a job of that class.", job_id)
    job = tracking.lift_above(job, _held_version(request))
    etag = f'"{job.version}"'
    response = get_conditional_response(request, etag=etag, response=_json(job.text))
    assert response is not None  # noqa: S101 - one was given
    response.headers["ETag"] = etag
    return response


def _held_version(request: HttpRequest) -> int:
    """Return the version that the client holds; 0 if it names none."""
    tags = parse_etags(request.headers.get("If-None-Match", ""))
    return max((int(tag.strip('"')) for tag in tags if _VERSION_TAG.fullmatch(tag)), default=0)


_VERSION_TAG = re.compile(r'"\d{1,16}"', re.ASCII)


def _verify_many(caller: Caller, job_ids: list[str]) -> HttpResponse:
    if not 0 < len(job_ids) <= protocol.MAX_JOBS:
        return error(400, "bad_request", f"Name 1 to {protocol.MAX_JOBS} jobs as ?job_id=…&job_id=…", None)
    jobs = visible_jobs(caller, job_ids)
    answers = [jobs[job_id].text if job_id in jobs else dump(_unknown(caller, job_id)) for job_id in job_ids]
    return _json(f'{{"jobs":[{",".join(answers)}]}}')


@csrf.unless_by_token
@json_view("POST")
def cancel(request: HttpRequest, caller: Caller, job_id: str | None, job_class: str | None) -> HttpResponse:  # noqa: ARG001
    """Ask for the cancellation of the job named in the path, or in the query."""
    if job_id is None:
        named = request.GET.getlist("job_id")
        if len(named) > 1:
            return error(400, "bad_request", "Name one job as ?job_id=…: jobs are cancelled one by one.", None)
        job_id = named[0] if named else ""
    job = visible_jobs(caller, [job_id]).get(job_id)
    if job is None:
        return unknown(caller, job_id)
    if not permissions.is_cancellable(caller.user, job):
        return _not_cancellable(job)
    after = tracking.cancel(job.job_id)
    if after is None:
        return unknown(caller, job_id)
    return _json(after.text, 202) if after.cancel_requested else _not_cancellable(after)


@json_view("GET", "HEAD", "POST")
def unfit(request: HttpRequest, caller: Caller, job_id: str | None, job_class: str | None) -> HttpResponse:  # noqa: ARG001
    """Answer 404, as JSON too, for a path that does not name a job: an id that does not fit goes by query."""
    return unknown(caller, job_id or "")


@csrf.unless_by_token
@json_view("POST", grace=GRACE)
def token(request: HttpRequest, caller: Caller, job_id: str | None, job_class: str | None) -> HttpResponse:  # noqa: ARG001
    """Answer with a new token in place of the request's, for those of its jobs that its user may still see."""
    old = caller.token
    ours = sorted(map(name_in, old.jobs_in(caller.namespace))) if old is not None else []
    jobs = frozenset(job.job_id for job in visible_jobs(caller, ours).values())
    fresh = old.successor(jobs, caller.user) if old is not None and jobs else None
    if fresh is None:
        return error(404, "unknown_job", protocol.UNKNOWN_JOB, None)
    if fresh.is_expired():
        raise TokenExpired
    return _json(dump({"token": fresh.text(), "expires_in": max(int(fresh.expires - time.time()), 0)}))


def visible_jobs(caller: Caller, job_ids: list[str], job_class: str = "") -> dict[str, Job]:
    """Return, by id, the jobs that exist and that the caller may see: unknown and forbidden ones look the same.

    Raises StoreUnavailable, and TooManyRequests for an account that cannot pay for so many ids.
    """
    quotas.ask_for(caller.account, len(job_ids))
    keys = {job_id: key_of(caller.namespace, job_id) for job_id in job_ids if is_job_id(job_id)}
    wanted = {job_id: key for job_id, key in keys.items() if caller.may_ask_for(key)}
    reading = tracking.on_record(wanted.values()) if wanted else Reading(now=0)
    shown = {}
    for job_id, key in wanted.items():
        known = reading.jobs.get(key)
        job = _find_visible(caller.user, known, key, job_class)
        if job is not None:
            shown[job_id] = job if known is None else tracking.bring_up_to_date(job, reading.now)
    if len(shown) < len(job_ids):
        quotas.deny(caller.account, set(job_ids) - shown.keys())
    return shown


def _find_visible(user: User, known: Job | None, job_id: str, job_class: str) -> Job | None:
    """Return the job if the user may see it; one that is not on record comes from elsewhere.

    A refused job is looked up elsewhere too, whatever the answer: otherwise the time taken would tell it from an
    unknown one.
    """
    if known is not None and permissions.may_see(user, known):
        return known
    if known is None:
        permissions.would_see(user, job_id, job_class)
    found = unrecorded.fetch(user, job_id, job_class)
    return found if known is None and found is not None and permissions.may_see(user, found) else None


# Answers


def unknown(caller: Caller, job_id: str) -> HttpResponse:
    """Answer 404, for a job that is unknown, expired, or not this caller's."""
    return _json(dump(_unknown(caller, job_id)), 404)


def _unknown(caller: Caller, job_id: str) -> dict[str, JSON]:
    entry: dict[str, JSON] = {"job_id": job_id, "error": {"code": "unknown_job", "message": protocol.UNKNOWN_JOB}}
    return entry if caller.user.is_authenticated else {**entry, "authenticated": False}


def error(
    status: int, code: str, message: str, job_id: str | None, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Answer with an error, in words that are safe for end users."""
    return _json(dump({"job_id": job_id, "error": {"code": code, "message": message}}), status, headers)


def _not_cancellable(job: Job) -> HttpResponse:
    """Answer 409 with the document, but for its error, which is why the job was not cancelled."""
    error: JSON = {"code": "not_cancellable", "message": "This job cannot be cancelled."}
    return _json(dump({**job.document, "error": error}), HTTPStatus.CONFLICT)


def _json(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return HttpResponse(text, status=status, headers=headers, content_type="application/json")
