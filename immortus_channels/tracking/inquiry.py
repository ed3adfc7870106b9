"""Runs that have gone silent: tracking asks the queue's own records once how they ended."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from django.db import connections

from immortus_channels import bounded_calls
from immortus_channels.jobs.events import Event
from immortus_channels.jobs.job import Job
from immortus_channels.queues.base import Queue
from immortus_channels.tracking.publisher import publish
from immortus_channels.writer import is_inline

logger = logging.getLogger("immortus_channels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A question to a queue, and the event to publish without an answer."""

    otherwise: Event
    queue: Queue
    run_id: str
    since: int

    def end(self) -> Event:
        """Return how the run ended, as far as is known, within the time that an outside question may take."""
        try:
            answer = bounded_calls.ask(f"the records of {self.queue.name}", self._question())
        except bounded_calls.NoAnswer:
            return self.otherwise
        except Exception:
            # A backend that is down, or whose driver is not installed, may raise anything.
            about = {"job_id": self.otherwise.job_id}
            logger.exception("The queue %r failed to say how %r ended", self.queue.name, about["job_id"], extra=about)
            return self.otherwise
        return self.otherwise if answer is None else replace(answer, run_id=self.run_id)

    def _question(self) -> Callable[[], Event | None]:
        event = self.otherwise
        return partial(self.queue.end_of, event.job_id, event.job_class, since=self.since)


def publish_end(
    otherwise: Event, *, queue: Queue, since: int, run_id: str | None = None, wait: float = 0
) -> Job | None:
    """Publish the end of a run that began at `since` from the queue's own record, or else the event `otherwise`.

    A thread asks the queue, so this returns None; for a queue without records it is `publish`. Under a test runner it
    asks here and now. Never raises.
    """
    if not _keeps_records(queue):
        return publish(otherwise, wait=wait)
    run_id = otherwise.run_id if run_id is None else run_id
    inquiry = Inquiry(otherwise=otherwise, queue=queue, run_id=run_id, since=since)
    if is_inline():
        return publish(inquiry.end(), wait=wait)
    _open(inquiry)
    return None


def _keeps_records(queue: Queue) -> bool:
    try:
        return queue.keeps_records()
    except Exception:
        logger.exception("The queue %r failed to say whether it keeps records", queue.name)
        return False


# One after the other, by a thread that exists only while there are questions.

_lock = threading.Lock()
_inquiries: OrderedDict[str, Inquiry] = OrderedDict()
_is_asking = False


def _open(inquiry: Inquiry) -> None:
    """Queue the question unless it is queued already: every reader of the job finds it overdue meanwhile."""
    global _is_asking  # noqa: PLW0603 - guarded by the lock
    with _lock:
        _inquiries.setdefault(inquiry.otherwise.job_id, inquiry)
        if _is_asking:
            return
        _is_asking = True
    try:
        threading.Thread(target=_ask_all, name="immortus-inquiry", daemon=True).start()
    except RuntimeError:  # the system has no thread left: the next reader tries again
        with _lock:
            _is_asking = False
            _inquiries.clear()


def _ask_all() -> None:
    while (inquiry := _next()) is not None:
        publish(inquiry.end())
        with _lock:
            _inquiries.pop(inquiry.otherwise.job_id)
        connections.close_all()


def _next() -> Inquiry | None:
    global _is_asking  # noqa: PLW0603
    with _lock:
        _is_asking = bool(_inquiries)
        return next(iter(_inquiries.values()), None)


def _forget() -> None:
    """Drop the questions in a forked child, which lacks the thread; its parent asks."""
    global _lock, _is_asking
    _lock, _is_asking = threading.Lock(), False
    _inquiries.clear()


os.register_at_fork(after_in_child=_forget)
