"""The answers of views that start a job."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.functional import Promise
from django.utils.translation import gettext

from immortus_channels.api.links import mounted, page_url, verify_url, websocket_url
from immortus_channels.logs import logger
from immortus_channels.queues.results import NONE_CURE, identify

JobInfo = dict[str, str | None]

HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
"""The headers of every answer of this package."""


def keep_private(response: HttpResponseBase) -> None:
    """Keep the answer out of caches, and browsers from guessing its type."""
    for name, value in HEADERS.items():
        response.headers[name] = value


def render_immortus(
    request: HttpRequest, job: object, *, label: str | Promise = "", queue: str | None = None
) -> JsonResponse:
    """Return the answer that lets the browser follow `job`: 202 with `job_info`, or 500 when there is no job (None).

    `job` is what the queue returned for it (for a chain the last link, for a chord its body), a job, or its id. With a
    number that the queue returned, `queue` is its name, as in `queue="procrastinate"`. The function reads and writes
    nothing, so async views may call it.

    Raises ConfigurationError for a group, for a task that is not tracked, for a queue without an adapter, for the name
    of a queue that is not in use and where the URLs are not mounted, TypeError for anything that is not a job.
    """
    if job is None:
        logger.warning(
            "render_immortus was given no job (None), so the page shows that none was started. %s", NONE_CURE
        )
        error = {"code": "not_started", "message": "The job was not started."}
        return JsonResponse({"job_id": None, "error": error}, status=500, headers=HEADERS)
    info = job_info(request, job, label=label, queue=queue)
    return JsonResponse(info, status=202, headers={**HEADERS, "Location": str(info["verify_url"])})


def job_info(
    request: HttpRequest,  # noqa: ARG001 - the URL may come to depend on it
    job: object,
    *,
    label: str | Promise = "",
    queue: str | None = None,
) -> JobInfo:
    """Return the content of `render_immortus` as a dict: for REST frameworks that build answers. Raises the same.

    `label` is what a bar of the job is called; without it, the task's name in words, empty for a bare id.
    """
    job_id, job_class = identify(job, queue)
    return {
        "job_id": job_id,
        "job_class": job_class,
        "label": str(label or "") or label_of(job_class),
        "verify_url": verify_url(job_id),
        "page_url": page_url(job_id),
        "websocket_url": websocket_url(job_id),
    }


def label_of(job_class: str | None) -> str:
    """Return the name of a task in words, translated if the project has a translation: "Process image"."""
    words = (job_class or "").rpartition(".")[2].replace("_", " ").strip()
    return gettext(words[:1].upper() + words[1:]) if words else ""


def job_page_url(job: object, *, queue: str | None = None) -> str:
    """Return the URL of the page that follows `job`: what its queue returned for it, a job, or its id.

    With a number that the queue returned, `queue` is its name.

    Raises what `job_info` raises.
    """
    return mounted(page_url(identify(job, queue)[0]))
