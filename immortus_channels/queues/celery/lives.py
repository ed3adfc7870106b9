"""Which life of a job a Celery message belongs to: a new one, or one that a retry continues.

Celery's own headers do not say. A first sending may name any number of `retries`; `retry(headers=…)` replaces all other
headers; and a task that passes on `request.headers` gives another job what the sender said about this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery._state import get_current_task

from immortus_channels.keys import name_in
from immortus_channels.queues.celery.canvas import REPLACES
from immortus_channels.queues.celery.headers import header_of
from immortus_channels.queues.celery.marks import HEADER, OWNER, STANDS_FOR
from immortus_channels.queues.messages import continuing_header, is_about, is_second, without_second
from immortus_channels.writer.run import current_run

_RETRIES = "retries"
"""How many retries the first sending named; usually none, and then left out."""


def with_retries(header: Mapping[str, Any], retries: object) -> dict[str, Any]:
    """Return the header of the first message of a life, which named this many retries."""
    return {**header, _RETRIES: retries} if retries else {**header}


def is_resent(headers: Mapping[str, Any], *, is_job: bool) -> bool:
    """Return whether a message continues a life: it retries the task that runs here or, in MAIN, one whose child died.

    In MAIN, the second message of a task that is not a job looks like a first one; little is reported of either.
    """
    retries = headers.get("retries")
    if not retries:
        return False
    header = headers.get(HEADER)
    if header is not None and is_about(header, headers["id"]):
        return bool(retries != header.get(_RETRIES, 0))
    return not is_job or _request_of(headers["id"]) is not None


def keep_headers(headers: dict[str, Any]) -> None:
    """Copy to a resent message the headers of the one before it, in case `retry(headers=…)` has dropped them."""
    if is_second(headers.get(HEADER)):
        headers[HEADER] = without_second(headers[HEADER])
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
    if not is_about(headers[HEADER], headers["id"]):
        for name in (HEADER, STANDS_FOR, REPLACES):
            headers.pop(name, None)


def _request_of(job_id: object) -> Any:
    """Return the request of the task that runs here, if it is this job's."""
    task = get_current_task()
    return task.request if task is not None and str(task.request.id) == str(job_id) else None
