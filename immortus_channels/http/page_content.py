"""What the page of a job shows: that it runs, how it ended, or why nothing can be said."""

from __future__ import annotations

from http import HTTPStatus

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch, Resolver404, resolve
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from immortus_channels.access import permissions
from immortus_channels.api.job_handler import JobHandler, read_attribute
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.job import SENTENCES, State

TEMPLATE = "immortus_channels/job_page.html"
REFRESH = 5
"""Seconds after which a browser without JavaScript reloads."""

_ENDS = {
    State.FINISHED: (_("Done"), _("Everything is ready.")),
    State.FAILED: (_("This did not work"), ""),
    State.CANCELLED: (_("Cancelled"), ""),
    State.LOST: (_("We have lost track of this"), ""),
}


def show_running(request: HttpRequest, handler: JobHandler) -> HttpResponse:
    """Show that the job is not over, with what its handler says."""
    job = handler.job
    return _page(
        request,
        job.state,
        job=job,
        job_id=job.job_id,
        header=read_attribute(handler, "header"),
        message=read_attribute(handler, "message"),
        note=_("It has been asked to stop.") if job.cancel_requested else "",
        may_cancel=not job.cancel_requested and permissions.is_cancellable(permissions.user_of(request), job.record),
        watches=True,
        refresh=REFRESH,
    )


def show_end(request: HttpRequest, handler: JobHandler) -> HttpResponse:
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


def show_unknown(request: HttpRequest, job_id: str) -> HttpResponse:
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


def show_unavailable(request: HttpRequest, status: HTTPStatus, wait: int) -> HttpResponse:
    """Answer with an error that passes: the page asks again after `wait` seconds or more."""
    response = _page(
        request,
        "unavailable",
        status,
        header=_("One moment, please"),
        message=_("The status is not available right now. This page will try again automatically."),
        retry=max(wait, REFRESH),
    )
    response.headers["Retry-After"] = str(wait)
    return response


def show_misled(request: HttpRequest) -> HttpResponse:
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
