"""The way of an event: strategy hook, meta, writer. Nothing here raises into a job: what fails is logged."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from immortus_channels import queues
from immortus_channels.guarded import quoted
from immortus_channels.jobs.events import Event, Refreshed, Unsuccessful
from immortus_channels.jobs.ids import MAX_LENGTH, is_job_id, text_of
from immortus_channels.jobs.job import Job
from immortus_channels.stores import get_store
from immortus_channels.tracking import strategies
from immortus_channels.tracking.hooks import followed, outside_event_loop
from immortus_channels.writer import WAIT, Write, get_writer
from immortus_channels.writer.values import MAX_SENTENCE

logger = logging.getLogger("immortus_channels")


def publish(event: Event, *, wait: float = WAIT, known: str | None = None) -> Job | None:
    """Take an event into the store, with its strategy's hook and meta, and push what changed.

    Returns the job after it, or None when the store has not answered within `wait` seconds; the write is made
    all the same, without a read if the record of the job is still the `known` one. Never raises.
    """
    try:
        job_id = text_of(event.job_id)
        if job_id is not None and job_id is not event.job_id:
            event = replace(event, job_id=job_id)
        if not can_be_tracked(event.job_id, event.job_class):
            logger.error(
                "No job can be tracked as %s of %s: an id is text, a UUID or a whole number; "
                "ids and names have 1 to 255 characters, no NUL and no half characters",
                quoted(event.job_id),
                quoted(event.job_class),
            )
            return None
        write = hand_over(event, 0 if get_store().waits_for_caller() else wait, known)
    except queues.interrupts():
        raise
    except Exception:
        logger.exception("Tracking of %r failed; the job goes on", event.job_id, extra={"job_id": event.job_id})
        return None
    return write.after if write.is_known else None


def can_be_tracked(job_id: object, job_class: str) -> bool:
    """Whether there can be a record of this job: what stores refuse would hold up what is written along with it."""
    return is_job_id(job_id) and len(job_class) <= MAX_LENGTH


def hand_over(event: Event, wait: float, known: str | None = None) -> Write:
    """Give an event to the writer, after its strategy was told and asked; waits up to `wait` seconds for the store."""
    event = _shortened(event)
    writer = get_writer()
    strategy = strategies.strategy_of(Job(job_id=event.job_id, job_class=event.job_class))
    if not strategies.defines(strategy, *strategies.HOOKS, "meta", "completed"):
        return writer.submit(event, wait=wait, known=known)
    # Who cannot wait for the write still waits to learn what it changes: a guess would call a hook twice for what is
    # told twice, and the hook itself takes longer than the answer.
    patience = WAIT if strategies.defines(strategy, *strategies.HOOKS) else wait
    began = time.monotonic()
    expected = writer.submit(event, wait=patience, is_dry=True)
    wait -= time.monotonic() - began
    if expected.is_known and not expected.changed:
        return expected
    known = None if expected.before is None else expected.before.to_record()
    said = outside_event_loop(lambda: followed(strategy, event, expected))
    return writer.submit(said, wait=wait, known=known)


def _shortened(event: Event) -> Event:
    """The event with no longer a sentence than a document has room for."""
    if isinstance(event, Unsuccessful) and len(event.message) > MAX_SENTENCE:
        return replace(event, message=f"{event.message[: MAX_SENTENCE - 1]}…")
    return event


def refresh(event: Refreshed) -> Job | None:
    """The job after what its strategy said when it was asked; None when that is not known in time. Never raises."""
    try:
        write = get_writer().submit(event, wait=0 if get_store().waits_for_caller() else WAIT)
    except Exception:
        logger.exception("Tracking of %r failed", event.job_id, extra={"job_id": event.job_id})
        return None
    return write.after if write.is_known else None


def renew(job_id: str, holder: str, seconds: float) -> None:
    """Move a job's lease, soon; what cannot be a job has none."""
    known = text_of(job_id)
    if is_job_id(known):
        get_writer().renew(known, holder, seconds)
