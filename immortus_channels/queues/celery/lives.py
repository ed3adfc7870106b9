"""Which life of a job a Celery message belongs to: a new one, or one that a retry continues.

Celery's own headers do not say. A first sending may name any number of `retries`; `retry(headers=…)` replaces all other
headers; and a task that passes on `request.headers` gives another job what the sender said about this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery._state import get_current_task

from immortus_channels.jobs.events import Origin
from immortus_channels.keys import name_in
from immortus_channels.queues.celery.canvas import REPLACES
from immortus_channels.queues.celery.marks import HEADER, OWNER, STANDS_FOR
from immortus_channels.queues.celery.origins import header_of
from immortus_channels.queues.messages import to_header
from immortus_channels.writer.run import current_run

_JOB = "job_id"
"""The job that a header is about; releases that did not record it never sent a header for another job."""
_RETRIES = "retries"
"""How many retries the first sending named; usually none, and then left out."""

_SECOND = "second"
"""Whether another message of the job was under way when this one was sent; its own retry is then the only one."""


def first_header(origin: Origin, job_id: object, retries: object = 0) -> dict[str, Any]:
    """Return the header of the first message of a life, or of one that continues it."""
    return {**to_header(origin), _JOB: str(job_id), **({_RETRIES: retries} if retries else {})}


def continuing_header(origin: Origin, job_id: object) -> dict[str, Any]:
    """Return the header of a message that continues a recorded life: its arguments and data need not travel."""
    return first_header(replace(origin, params=None, data=None), job_id)


def second_header(origin: Origin, job_id: object) -> dict[str, Any]:
    """Return the header of a second message of a job that is not over: if no worker runs it, the job has not ended."""
    return {**continuing_header(origin, job_id), _SECOND: True}


def is_second(header: Mapping[str, Any] | None) -> bool:
    """Return whether the message with this header is a second one of its job."""
    return bool(header and header.get(_SECOND))


def is_resent(headers: Mapping[str, Any], *, is_job: bool) -> bool:
    """Return whether a message continues a life: it retries the task that runs here or, in MAIN, one whose child died.

    In MAIN, the second message of a task that is not a job looks like a first one; little is reported of either.
    """
    retries = headers.get("retries")
    if not retries:
        return False
    header = headers.get(HEADER)
    if header is not None and _is_about(header, headers["id"]):
        return bool(retries != header.get(_RETRIES, 0))
    return not is_job or _request_of(headers["id"]) is not None


def keep_headers(headers: dict[str, Any]) -> None:
    """Copy to a resent message the headers of the one before it, in case `retry(headers=…)` has dropped them."""
    if is_second(headers.get(HEADER)):
        headers[HEADER] = {name: value for name, value in headers[HEADER].items() if name != _SECOND}
    request, run = _request_of(headers["id"]), current_run.get()
    if request is None:
        return
    for name in (HEADER, STANDS_FOR, REPLACES, OWNER):
        value = header_of(request, name)
        if value is not None:
            headers.setdefault(name, value)
    if run is not None and name_in(run.job_id) == str(headers["id"]) and run.origin is not None:
        headers.setdefault(HEADER, continuing_header(run.origin, headers["id"]))


def forget_others(headers: dict[str, Any]) -> None:
    """Drop the headers that a message was given from that of another job."""
    if not _is_about(headers[HEADER], headers["id"]):
        for name in (HEADER, STANDS_FOR, REPLACES):
            headers.pop(name, None)


def _is_about(header: Mapping[str, Any], job_id: object) -> bool:
    """Return whether the header is this job's; an id may be a UUID here and text there."""
    return bool(header.get(_JOB, str(job_id)) == str(job_id))


def _request_of(job_id: object) -> Any:
    """Return the request of the task that runs here, if it is this job's."""
    task = get_current_task()
    return task.request if task is not None and str(task.request.id) == str(job_id) else None
