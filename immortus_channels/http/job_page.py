"""The page of a job: it waits with the viewer, and leads on when the job is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

from django.conf import settings as django_settings
from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch, Resolver404, resolve
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from immortus_channels import tracking
from immortus_channels.access import is_owner, permissions, quotas
from immortus_channels.access.quotas import TooManyRequests
from immortus_channels.api import job_handler
from immortus_channels.api.job import JobHandle
from immortus_channels.api.job_handler import JobHandler
from immortus_channels.api.shortcuts import keep_private
from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.http import authentication
from immortus_channels.http.views import RETRY_AFTER, visible_jobs
from immortus_channels.jobs.events import PageHook
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.job import SENTENCES, Job, State

logger = logging.getLogger("immortus_channels")

TEMPLATE = "immortus_channels/job_page.html"
METHODS = ("GET", "HEAD", "POST")
REFRESH = 5
"""Seconds after which a browser without JavaScript reloads."""

_ENDS = {
    State.FINISHED: (_("Done"), _("Everything is ready.")),
    State.FAILED: (_("This did not work"), ""),
    State.CANCELLED: (_("Cancelled"), ""),
    State.LOST: (_("We have lost track of this"), ""),
}


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
            return _unknown(request, job_id)
        return _cancel(request, record) if request.method == "POST" else _known(request, record)
    except TooManyRequests as refused:
        return _busy(request, refused.wait)
    except StoreUnavailable:
        logger.warning("The server cannot reach the store and answers job pages with 503")
        return _unavailable(request)


def _is_prefetch(request: HttpRequest) -> bool:
    """Return whether the browser only guesses that the page is wanted, by the Fetch standard's header or older ones."""
    purposes = " ".join(request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"))
    return any(word in purposes.lower() for word in ("prefetch", "preview", "prerender"))


def _known(request: HttpRequest, record: Job) -> HttpResponse:
    handle = JobHandle(record.job_id, record=record)
    handler = job_handler.handler_of(handle)
    if not record.is_over:
        return _running(request, handler)
    if record.state is State.FINISHED:
        _call(request, handler, "on_ready")
        return _redirect(request, handler, "next_url") or _over(request, handler)
    _call(request, handler, "on_failed")
    return _redirect(request, handler, "failed_url") or _over(request, handler)


def _cancel(request: HttpRequest, record: Job) -> HttpResponse:
    """Cancel the job if possible, then redirect to its page, which shows the outcome."""
    if permissions.is_cancellable(permissions.user_of(request), record):
        tracking.cancel(record.job_id)
    return HttpResponseRedirect(request.get_full_path(), status=HTTPStatus.SEE_OTHER)


# Hooks


def _call(request: HttpRequest, handler: JobHandler, hook: PageHook) -> None:
    """Call a hook of the handler, once in the life of the job; log what it raises, and continue for the viewer."""
    record = handler.job.record
    if request.method == "HEAD" or not _is_for(request, record) or not tracking.claim(record, hook):
        return
    try:
        with _atomic_as_requests():
            getattr(handler, hook)(request)
    except Exception:
        logger.exception("%s of %r raised", hook, handler, extra={"job_id": record.job_id})


def _is_for(request: HttpRequest, record: Job) -> bool:
    """Return whether the handler's words are meant for this viewer: the owner, or any viewer if there is none."""
    user = permissions.user_of(request)
    if record.owner is None:
        return not record.staff_only
    return is_owner(user, record)


@contextmanager
def _atomic_as_requests() -> Iterator[None]:
    """Enter the transactions that a view of this project runs in."""
    with ExitStack() as stack:
        for connection in connections.all():
            if connection.settings_dict["ATOMIC_REQUESTS"]:
                stack.enter_context(transaction.atomic(using=connection.alias))
        yield


# Leading on


def _redirect(request: HttpRequest, handler: JobHandler, name: str) -> HttpResponse | None:
    """Return the redirect to what the handler names; None if it names nothing."""
    target = job_handler.told(handler, name, request)
    if target is None:
        return None
    try:
        url = resolve_url(target)
    except Exception:
        # An object's `get_absolute_url` may raise anything.
        logger.exception(
            "%s of %r is %r, which is not a URL", name, handler, target, extra={"job_id": handler.job.job_id}
        )
        return _show_misled(request)
    if not _is_allowed(request, url):
        msg = "%s of %r leads to %r, which is neither this host nor in IMMORTUS_REDIRECT_HOSTS; the page stays"
        logger.error(msg, name, handler, url, extra={"job_id": handler.job.job_id})
        return _show_misled(request)
    return HttpResponseRedirect(url)


def _is_allowed(request: HttpRequest, url: str) -> bool:
    hosts = {request.get_host(), *settings.REDIRECT_HOSTS}
    return url_has_allowed_host_and_scheme(url, allowed_hosts=hosts, require_https=request.is_secure())


# What is shown


def _running(request: HttpRequest, handler: JobHandler) -> HttpResponse:
    job = handler.job
    return _page(
        request,
        job.state,
        job=job,
        job_id=job.job_id,
        header=job_handler.told(handler, "header"),
        message=job_handler.told(handler, "message"),
        note=_("It has been asked to stop.") if job.cancel_requested else "",
        may_cancel=not job.cancel_requested and permissions.is_cancellable(permissions.user_of(request), job.record),
        watches=True,
        refresh=REFRESH,
    )


def _over(request: HttpRequest, handler: JobHandler) -> HttpResponse:
    """Show that the job has ended, if the handler leads nowhere. A lost one may yet report."""
    header, message = _ENDS[handler.job.state]
    error = handler.job.record.error
    is_lost = handler.job.state is State.LOST
    return _page(
        request,
        handler.job.state,
        job=handler.job,
        job_id=handler.job.job_id,
        header=header,
        message=message if error is None else _translate(error.message),
        note=_("If the job reports again, this page will update.") if is_lost else "",
        watches=is_lost,
        refresh=REFRESH if is_lost else None,
    )


def _translate(sentence: str) -> str:
    """Return a sentence of this package in the viewer's language; a task's own sentence stays as it is."""
    return gettext(sentence) if sentence in SENTENCES.values() else sentence


def _unknown(request: HttpRequest, job_id: str) -> HttpResponse:
    """Answer 404: unknown, expired and forbidden jobs look the same.

    A job that was sent a moment ago may not be recorded yet, so the page asks a few times, as every client does, and
    without JavaScript reloads once.
    """
    again = None
    if "again" not in request.GET:
        query = request.GET.copy()
        query["again"] = "1"
        again = f"{REFRESH};url={request.path}?{query.urlencode()}"
    return _page(
        request,
        "unknown",
        HTTPStatus.NOT_FOUND,
        job_id=job_id if is_job_id(job_id) else None,
        header=_("There is no such job"),
        message=_("It may have expired, or you may not be allowed to see it."),
        login_url=_login_url(request),
        watches=is_job_id(job_id),
        refresh=again,
    )


def _login_url(request: HttpRequest) -> str | None:
    """Return where an anonymous viewer may log in, if the project has such a page."""
    if permissions.user_of(request).is_authenticated:
        return None
    try:
        url = resolve_url(django_settings.LOGIN_URL)
        resolve(url)
    except (NoReverseMatch, Resolver404):
        return None
    return f"{url}?{urlencode({'next': request.get_full_path()})}"


def _unavailable(request: HttpRequest) -> HttpResponse:
    return _later(request, HTTPStatus.SERVICE_UNAVAILABLE, RETRY_AFTER, refresh=REFRESH)


def _busy(request: HttpRequest, wait: int) -> HttpResponse:
    """Answer 429: the caller has made too many requests, or asked for too many jobs that are not theirs."""
    return _later(request, HTTPStatus.TOO_MANY_REQUESTS, wait, refresh=max(wait, REFRESH))


def _later(request: HttpRequest, status: HTTPStatus, wait: int, *, refresh: int) -> HttpResponse:
    response = _page(
        request,
        "unavailable",
        status,
        header=_("One moment, please"),
        message=_("The status is not available right now. This page will try again automatically."),
        retry=refresh,
    )
    response.headers["Retry-After"] = str(wait)
    return response


def _show_misled(request: HttpRequest) -> HttpResponse:
    """Answer 200 and keep the job's page, as if the handler led nowhere; the log says whose mistake it is."""
    return _page(
        request,
        "misled",
        header=_("The next page is not available"),
        message=_("The work is over, but the page that should follow cannot be opened."),
    )


_NOTHING = dict.fromkeys(("job", "job_id", "note", "login_url", "may_cancel", "refresh", "retry", "watches"))
"""The variables that a page does not set, so that a template may use them."""


def _page(request: HttpRequest, state: str, status: int = HTTPStatus.OK, **context: object) -> HttpResponse:
    return render(request, TEMPLATE, {"state": str(state), **_NOTHING, **context}, status=status)
