"""`{% immortus_script %}` and `{% immortus_job %}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.conf import settings as django_settings
from django.middleware.csrf import get_token
from django.template import Context
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from immortus_channels.api import links
from immortus_channels.api.shortcuts import label_of
from immortus_channels.jobs.job import State
from immortus_channels.queues.results import identify

register = template.Library()

_WORDS: dict[str, object] = {
    State.ENQUEUED: _("waiting"),
    State.RUNNING: _("running"),
    State.RETRYING: _("trying again"),
    State.FINISHED: _("done"),
    State.FAILED: _("failed"),
    State.CANCELLED: _("cancelled"),
    State.LOST: _("lost"),
    "stalled": _("no news for a while"),
}


@register.inclusion_tag("immortus_channels/script.html", takes_context=True)
def immortus_script(context: Context, *, job_state: bool = False) -> dict[str, object]:
    """Render the client, once per page: its URLs, the CSRF token and the CSP nonce; `job_state` adds `JobState`."""
    return {**_script(context), "job_state": job_state}


@register.inclusion_tag("immortus_channels/page_files.html", takes_context=True)
def immortus_page_files(context: Context, *, watches: bool = False) -> dict[str, object]:
    """Render the style of a job's page and, if it `watches` the job, the scripts: for extended templates."""
    files = _script(context) if watches else {"nonce": _nonce(context)}
    return {**files, "watches": watches}


@register.inclusion_tag("admin/immortus_channels/jobrecord/script.html", takes_context=True)
def immortus_admin_script(context: Context, words: Mapping[str, object]) -> dict[str, object]:
    """Render the script that updates the table of the admin's page of a job; `words` are the table's for the states."""
    zone = timezone.get_current_timezone_name() if django_settings.USE_TZ else "UTC"
    return {"words": words, "language": get_language() or "en", "time_zone": zone, "nonce": _nonce(context)}


def _script(context: Context) -> dict[str, object]:
    request = context.get("request")
    return {
        "prefix": links.mounted(links.mount()),
        "websocket": links.websocket_url(),
        "csrf_token": get_token(request) if request is not None else None,
        "nonce": _nonce(context),
    }


@register.inclusion_tag("immortus_channels/job.html")
def immortus_job(job: Any, *, label: str | Promise = "", queue: str | None = None) -> dict[str, object]:
    """Render a live bar for a job: the job itself, what its queue returned, or its id.

    Screen readers call the bar by its `label`; without one, by the task's name in words. A job shows its state before
    any script runs; a bare id shows nothing yet, and nothing is read. With a number that its queue returned, `queue` is
    the queue's name.
    """
    job_id, job_class = identify(job, queue)
    return {
        "job_id": job_id,
        "job_class": job_class,
        "label": label or label_of(job_class),
        "document": getattr(job, "document", None),
        "page_url": links.page_url(job_id),
    }


@register.inclusion_tag("immortus_channels/state.html")
def immortus_state(state: str = "", stalled: object = None) -> dict[str, object]:
    """Render the word for a state, and those that the client puts in its place, in the viewer's language.

    A running job may be `stalled`: its worker has fallen silent.
    """
    return {"words": _WORDS, "shown": _WORDS["stalled"] if stalled else _WORDS.get(state, "")}


@register.filter
def percent(percentage: float | None) -> str:
    """Return a percentage as the client writes it: a whole one without decimals, any other with one; "" for none."""
    return "" if percentage is None else f"{percentage:.1f}".removesuffix(".0") + " %"


def _nonce(context: Context) -> str | None:
    """Return the page's nonce (Django 6, django-csp). Reading creates it: an unread one is false, but not None."""
    request = context.get("request")
    for nonce in (context.get("csp_nonce"), getattr(request, "csp_nonce", None), getattr(request, "_csp_nonce", None)):
        if nonce is not None:
            return str(nonce)
    return None
