"""Runs that have gone silent: tracking asks the queue's own records once how they ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from django.db import connections

from immortus_channels import bounded_calls
from immortus_channels.errands import Errands
from immortus_channels.jobs.events import Event
from immortus_channels.jobs.job import Job
from immortus_channels.logs import logger
from immortus_channels.queues.tracker import Records
from immortus_channels.tracking.publisher import publish
from immortus_channels.writer import is_inline


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A question to a queue, and the event to publish without an answer."""

    otherwise: Event
    queue: Records
    run_id: str
    since: int

    def end(self) -> Event:
        """Return how the run ended, as far as is known, within the time that an outside question may take."""
        event, name = self.otherwise, self.queue.name
        question = partial(self.queue.end_of, event.job_id, event.job_class, since=self.since)
        try:
            answer = bounded_calls.ask(f"the records of {name}", question)
        except bounded_calls.NoAnswer:
            return event
        except Exception:
            # A backend that is down, or whose driver is not installed, may raise anything.
            logger.exception(
                "The queue %r failed to say how %r ended", name, event.job_id, extra={"job_id": event.job_id}
            )
            return event
        return event if answer is None else replace(answer, job_id=event.job_id, run_id=self.run_id)


def publish_end(
    otherwise: Event, *, queue: Records, since: int, run_id: str | None = None, wait: float = 0
) -> Job | None:
    """Publish the end of a run that began at `since` from the queue's own record, or else the event `otherwise`.

    The queue is asked beside everything else, so None is returned; where it keeps no records, this is `publish`.
    Where jobs are written inline, it is asked here and now. Never raises.
    """
    if not _keeps_records(queue):
        return publish(otherwise, wait=wait)
    run_id = otherwise.run_id if run_id is None else run_id
    inquiry = Inquiry(otherwise=otherwise, queue=queue, run_id=run_id, since=since)
    if is_inline():
        return publish(inquiry.end(), wait=wait)
    _inquiries.open(inquiry)
    return None


def _keeps_records(queue: Records) -> bool:
    try:
        return queue.keeps_records()
    except Exception:
        logger.exception("The queue %r failed to say whether it keeps records", queue.name)
        return False


class Inquiries(Errands[str, Inquiry]):
    """The questions to ask, by job, one after the other."""

    NAME = "immortus-inquiry"

    def open(self, inquiry: Inquiry) -> None:
        """Have the question asked, unless it is already waiting: every reader of the job finds it overdue meanwhile."""
        job_id = inquiry.otherwise.job_id
        with self._condition:
            try:
                self._put(job_id, self._pending.get(job_id, inquiry))
            except RuntimeError:  # the system has no thread left: the next reader of the job tries again
                self._pending.clear()

    def _work(self) -> None:
        while (due := self._next()) is not None:
            job_id, inquiry = due
            publish(inquiry.end())
            with self._condition:
                del self._pending[job_id]
            connections.close_all()


_inquiries = Inquiries()
