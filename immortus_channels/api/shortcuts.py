"""What a view that starts a job answers."""

from __future__ import annotations

import logging

from django.http import HttpRequest, JsonResponse

from immortus_channels import queues
from immortus_channels.api.links import page_url, verify_url, websocket_url
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.guarded import quoted
from immortus_channels.jobs.ids import is_job_id, text_of
from immortus_channels.queues import unsupported

logger = logging.getLogger("immortus_channels")

JobInfo = dict[str, str | None]

HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
"""Of every JSON answer of this package."""


def render_immortus(request: HttpRequest, job: object) -> JsonResponse:
    """The answer that lets the browser follow `job`: 202 with `job_info`, or 500 when there is no job (None).

    `job` is what the queue returned for it (of a chain the last link, of a chord its body), a job, or its id. Nothing
    is read or written, so async views may call it.

    Raises ConfigurationError for a group, for a task that is not tracked and for a queue that has no adapter, TypeError
    for what is no job at all.
    """
    if job is None:
        logger.warning(
            "render_immortus was given no job (None); the page is told that none was started. If delay_on_commit() "
            "returned that, write base=TrackedTask (of immortus_channels.celery) at the task: its result has an id."
        )
        error = {"code": "not_started", "message": "The job was not started."}
        return JsonResponse({"job_id": None, "error": error}, status=500, headers=HEADERS)
    info = job_info(request, job)
    return JsonResponse(info, status=202, headers={**HEADERS, "Location": str(info["verify_url"])})


def job_info(request: HttpRequest, job: object) -> JobInfo:  # noqa: ARG001 - the address may come to depend on it
    """What `render_immortus` answers, as a dict: for REST frameworks that answer by themselves. Raises the same."""
    job_id, job_class = identify(job)
    return {
        "job_id": job_id,
        "job_class": job_class,
        "verify_url": verify_url(job_id),
        "page_url": page_url(job_id),
        "websocket_url": websocket_url(job_id),
    }


def identify(job: object) -> tuple[str, str | None]:
    """The id of a job and, as far as `job` knows it, the registered name of its task.

    Of a bare id nothing is told, whatever this process has sent: who gives one may not be who may see the job.
    Raises ConfigurationError for a group, for a task that is not tracked and for a queue that has no adapter, TypeError
    for what is no job at all.
    """
    for queue in queues.connected:
        found = queue.job_of(job)
        if found is not None and is_job_id(found[0]):
            return found[0], found[1] or None
    unsupported.refuse(job)
    job_id = text_of(job) or text_of(getattr(job, "job_id", None))
    if not is_job_id(job_id):
        ids = "text of 1 to 255 characters, a UUID or a whole number"
        msg = f"{quoted(job)} is not a job: give what a tracked task's delay() returned, a job, or its id: {ids}."
        raise TypeError(msg)
    return job_id, getattr(job, "job_class", None) or None


def job_page_url(job: object) -> str:
    """The address of the page that follows `job`: what its queue returned for it, a job, or its id.

    Raises ConfigurationError where the addresses are not mounted, and for what `render_immortus` refuses.
    """
    url = page_url(identify(job)[0])
    if url is None:
        msg = "Jobs have no page here: add *immortus_jobs() of immortus_channels.urls to urlpatterns."
        raise ConfigurationError(msg)
    return url
