"""Which life of a job a Celery message belongs to: a new one, or the one that goes on with a retry.

Celery's own headers do not tell. A first sending may name any number of `retries`; `retry(headers=…)` puts the given
headers in place of all others; and who hands on `request.headers` gives another job what was said of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery._state import get_current_task

from immortus_channels.jobs.events import Origin
from immortus_channels.queues.celery.canvas import OWNER, REPLACES, STANDS_FOR
from immortus_channels.queues.celery.origins import HEADER, header_of, to_header
from immortus_channels.writer.run import current_run

_JOB = "job_id"
"""Which job a header is about; a release that did not say so never sent it for another one."""
_RETRIES = "retries"
"""How many retries its first sending named; left out where none, as nearly always."""

_SECOND = "second"
"""Whether another message of the job was under way when this one was sent; its retry is the only one."""


def header_for(origin: Origin, job_id: object, retries: object = 0) -> dict[str, Any]:
    """The header of the first message of a life, or of one that goes on with it."""
    return {**to_header(origin), _JOB: str(job_id), **({_RETRIES: retries} if retries else {})}


def going_on(origin: Origin, job_id: object) -> dict[str, Any]:
    """The header of whatever goes on with a life that is on record: its arguments and its data need not travel."""
    return header_for(replace(origin, params=None, data=None), job_id)


def one_more(origin: Origin, job_id: object) -> dict[str, Any]:
    """The header of a second message of a job that is not over: where nobody runs it, that is no end of the job."""
    return {**going_on(origin, job_id), _SECOND: True}


def is_second(told: Mapping[str, Any] | None) -> bool:
    """Whether the message with this header is a second one of its job."""
    return bool(told and told.get(_SECOND))


def is_resent(headers: Mapping[str, Any], *, is_job: bool) -> bool:
    """Whether a message continues a life: the task that runs here is tried again, or in MAIN one whose child was lost.

    In MAIN nothing tells the second message of a task that is not a job from a first one; little is said of either.
    """
    retries = headers.get("retries")
    if not retries:
        return False
    told = headers.get(HEADER)
    if told is not None and _is_about(told, headers["id"]):
        return bool(retries != told.get(_RETRIES, 0))
    return not is_job or _running(headers["id"]) is not None


def carry_on(headers: dict[str, Any]) -> None:
    """Give a message that is sent again what the one before it said, where `retry(headers=…)` has dropped that."""
    if is_second(headers.get(HEADER)):
        headers[HEADER] = {name: value for name, value in headers[HEADER].items() if name != _SECOND}
    request, run = _running(headers["id"]), current_run.get()
    if request is None:
        return
    for name in (HEADER, STANDS_FOR, REPLACES, OWNER):
        told = header_of(request, name)
        if told is not None:
            headers.setdefault(name, told)
    if run is not None and run.job_id == str(headers["id"]) and run.origin is not None:
        headers.setdefault(HEADER, going_on(run.origin, run.job_id))


def forget_others(headers: dict[str, Any]) -> None:
    """Drop what a message was handed on from that of another job."""
    if not _is_about(headers[HEADER], headers["id"]):
        for name in (HEADER, STANDS_FOR, REPLACES):
            headers.pop(name, None)


def _is_about(told: Mapping[str, Any], job_id: object) -> bool:
    """Whether the header is this job's; an id may be a UUID here and text there."""
    return bool(told.get(_JOB, str(job_id)) == str(job_id))


def _running(job_id: object) -> Any:
    """The request of the task that runs here, if it is this job's."""
    task = get_current_task()
    return task.request if task is not None and str(task.request.id) == str(job_id) else None
