"""The page of a job: it waits with the viewer, and leads on when the job is over."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.core.handlers.base import BaseHandler
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme

from immortus_channels import tracking
from immortus_channels.access import is_owner, permissions, quotas
from immortus_channels.access.quotas import TooManyRequests
from immortus_channels.api import job_handler
from immortus_channels.api.job import JobHandle
from immortus_channels.api.job_handler import JobHandler
from immortus_channels.api.shortcuts import keep_private
from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.http import authentication, page_content
from immortus_channels.http.views import RETRY_AFTER, visible_jobs
from immortus_channels.jobs.events import PageHook
from immortus_channels.jobs.job import Job, State
from immortus_channels.keys import name_in
from immortus_channels.logs import logger

METHODS = ("GET", "HEAD", "POST")


@login_not_required
@transaction.non_atomic_requests
def job(request: HttpRequest, job_id: str | None = None) -> HttpResponse:
    """Show the page of the job named in the path, or in the query.

    A POST asks for the job's cancellation. The page must be true when it is shown, so it is neither cached nor
    prefetched. It runs outside `ATOMIC_REQUESTS`, as what it reads and writes does not belong to the request; a
    handler's hooks run inside.
    """
    response = _answer(request, request.GET.get("job_id", "") if job_id is None else job_id)
    keep_private(response)
    patch_vary_headers(response, ["Cookie"])
    return response


def _answer(request: HttpRequest, job_id: str) -> HttpResponse:
    if request.method not in METHODS:
        return HttpResponseNotAllowed(METHODS)
    if _is_prefetch(request):
        # The browser discards an answer that is not a success, and asks again when the user really comes.
        return HttpResponse(status=HTTPStatus.SERVICE_UNAVAILABLE)
    try:
        caller = authentication.of_session(request)
        quotas.ask(caller.account)
        record = visible_jobs(caller, [job_id]).get(job_id)
        if record is None:
            return page_content.show_unknown(request, job_id)
        return _cancel(request, record) if request.method == "POST" else _show_known(request, record)
    except TooManyRequests as refused:
        return page_content.show_unavailable(request, HTTPStatus.TOO_MANY_REQUESTS, refused.wait)
    except StoreUnavailable:
        logger.warning("The server cannot reach the store and answers job pages with 503")
        return page_content.show_unavailable(request, HTTPStatus.SERVICE_UNAVAILABLE, RETRY_AFTER)


def _is_prefetch(request: HttpRequest) -> bool:
    """Return whether the browser only guesses that the page is wanted, by the Fetch standard's header or older ones."""
    purposes = " ".join(request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"))
    return any(word in purposes.lower() for word in ("prefetch", "preview", "prerender"))


def _show_known(request: HttpRequest, record: Job) -> HttpResponse:
    handler = job_handler.handler_of(JobHandle(name_in(record.job_id), record=record))
    if not record.is_over:
        return page_content.show_running(request, handler)
    if record.state is State.FINISHED:
        _call_hook(request, handler, "on_ready")
        return _redirect(request, handler, "next_url") or page_content.show_end(request, handler)
    _call_hook(request, handler, "on_failed")
    return _redirect(request, handler, "failed_url") or page_content.show_end(request, handler)


def _cancel(request: HttpRequest, record: Job) -> HttpResponse:
    """Cancel the job if possible, then redirect to its page, which shows the outcome."""
    if permissions.is_cancellable(permissions.user_of(request), record):
        tracking.cancel(record.job_id)
    return HttpResponseRedirect(request.get_full_path(), status=HTTPStatus.SEE_OTHER)


# Hooks


def _call_hook(request: HttpRequest, handler: JobHandler, hook: PageHook) -> None:
    """Call a hook of the handler, once in the life of the job; log what it raises, and continue for the viewer."""
    record = handler.job.record
    if request.method == "HEAD" or not _is_for(request, record) or not tracking.claim(record, hook):
        return
    try:
        # In the transactions that a view of this project runs in.
        BaseHandler().make_view_atomic(partial(job_handler.call, getattr(handler, hook)))(request)
    except Exception:
        logger.exception("%s of %r raised", hook, handler, extra={"job_id": record.job_id})


def _is_for(request: HttpRequest, record: Job) -> bool:
    """Return whether the handler's words are meant for this viewer: the owner, or any viewer if there is none."""
    if record.owner is None:
        return not record.staff_only
    return is_owner(permissions.user_of(request), record.shown)


# Leading on


def _redirect(request: HttpRequest, handler: JobHandler, name: str) -> HttpResponse | None:
    """Return the redirect to what the handler names; None if it names nothing."""
    target = job_handler.read_attribute(handler, name, request)
    if target is None:
        return None
    about = {"job_id": handler.job.job_id}
    try:
        url = resolve_url(target)
    except Exception:
        # An object's `get_absolute_url` may raise anything.
        logger.exception("%s of %r is %r, which is not a URL", name, handler, target, extra=about)
        return page_content.show_misled(request)
    if not _is_allowed(request, url):
        msg = "%s of %r leads to %r, which is neither this host nor in IMMORTUS_REDIRECT_HOSTS; the page stays"
        logger.error(msg, name, handler, url, extra=about)
        return page_content.show_misled(request)
    return HttpResponseRedirect(url)


def _is_allowed(request: HttpRequest, url: str) -> bool:
    hosts = {request.get_host(), *settings.REDIRECT_HOSTS}
    return url_has_allowed_host_and_scheme(url, allowed_hosts=hosts, require_https=request.is_secure())
