"""The path of an event: strategy hook, meta, writer. Nothing here raises into a job: failures are logged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from asgiref.sync import sync_to_async

from immortus_channels import queues
from immortus_channels.guarded import quoted
from immortus_channels.jobs.events import Event, Refreshed, Unsuccessful
from immortus_channels.jobs.ids import is_key, text_of
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import is_foreign
from immortus_channels.keys import MAX_LENGTH
from immortus_channels.logs import logger
from immortus_channels.stores import get_store
from immortus_channels.threads import await_in_thread
from immortus_channels.tracking import strategies
from immortus_channels.tracking.hooks import follow, outside_event_loop
from immortus_channels.tracking.soon import may_wait, soon
from immortus_channels.writer import WAIT, Write, get_writer, is_inline, patience
from immortus_channels.writer.values import MAX_SENTENCE


def publish(event: Event, *, wait: float = WAIT, known: Job | str | None = None) -> Job | None:
    """Take an event into the store, with its strategy's hook and meta, and push the change.

    Returns the job after it, or None when the store has not answered within `wait` seconds; the writer still makes the
    write, without a read if the job is still the `known` one. Never raises.
    """
    with _failures_logged(event):
        if (fit := _fit(event)) is not None:
            return _told(fit, hand_over(fit, 0 if get_store().waits_for_caller() else wait, known))
    return None


async def apublish(event: Event, *, wait: float = WAIT, known: Job | str | None = None) -> Job | None:
    """Do what `publish` does on an event loop, which runs on meanwhile. A strategy's hook runs in a thread."""
    publish_it = partial(publish, event, wait=wait, known=known)
    if is_inline():
        return await sync_to_async(publish_it)()
    with _failures_logged(event):
        if _is_followed(strategies.strategy_of(event.job_class, event.job_id)):
            return await await_in_thread(publish_it)
        if (fit := _fit(event)) is not None:
            return _told(fit, await get_writer().asubmit(_shorten(fit), wait=wait, known=known))
    return None


@contextmanager
def _failures_logged(event: Event) -> Iterator[None]:
    try:
        yield
    except queues.interrupts():
        raise
    except Exception:
        logger.exception("Tracking of %r failed; the job continues", event.job_id, extra={"job_id": event.job_id})


def _fit(event: Event) -> Event | None:
    """Return the event with its id as text; None, and log why, if no record of its job is possible."""
    job_id = text_of(event.job_id)
    if job_id is not None and job_id is not event.job_id:
        event = replace(event, job_id=job_id)
    if can_be_tracked(event.job_id, event.job_class):
        return event
    logger.error(
        "The job %s of %s cannot be tracked: an id is text, a UUID or a whole number; "
        "ids and names have 1 to 255 characters, no NUL, no U+001F and no unpaired surrogates",
        quoted(event.job_id),
        quoted(event.job_class),
    )
    return None


def _told(event: Event, write: Write) -> Job | None:
    """Return the job after the event, None if that is not known yet; log that it is another queue's or user's."""
    job = write.after if write.is_known else None
    if job is None or not is_foreign(job, event.queue, event.origin):
        return job
    if job.is_of_another(event.queue):
        msg = "The id %r is that of a job of %s, so a task of %s with the same id is not tracked"
        logger.warning(msg, job.job_id, job.queue, event.queue, extra={"job_id": job.job_id})
    else:
        msg = "The job %r was made by hand for another user, so a task of %s that is sent with its id is not tracked"
        logger.warning(msg, job.job_id, event.queue or "a queue", extra={"job_id": job.job_id})
    return job


def publish_here(event: Event, *, known: Job | str | None = None, wait: float | None = None) -> Job | None:
    """Publish an event that a job's own methods make: on an event loop without a wait, and in order. Never raises.

    Returns what `publish` does, None where nothing was waited for; elsewhere `wait` may shorten the wait.
    """
    if may_wait():
        left = soon.flush(patience())
        return publish(event, wait=left if wait is None else min(wait, left), known=known)
    if not _is_followed(strategies.strategy_of(event.job_class, event.job_id)):
        return publish(event, wait=0, known=known)
    soon.put(partial(publish, event, known=known))
    return None


def can_be_tracked(job_id: object, job_class: str) -> bool:
    """Return whether a record of this job is possible: one that stores refuse would hold up others written with it."""
    return is_key(job_id) and len(job_class) <= MAX_LENGTH


def hand_over(event: Event, wait: float, known: Job | str | None = None) -> Write:
    """Give an event to the writer, after its strategy's hook and meta; wait up to `wait` seconds for the store."""
    event = _shorten(event)
    writer = get_writer()
    strategy = strategies.strategy_of(event.job_class, event.job_id)
    if not _is_followed(strategy):
        return writer.submit(event, wait=wait, known=known)
    # Even a caller that cannot wait for the write waits to learn what it would change. Guessing could run a hook twice
    # for a duplicate event, and the hook takes longer than this answer anyway.
    patience = WAIT if strategies.defines(strategy, *strategies.HOOKS) else wait
    began = time.monotonic()
    expected = writer.submit(event, wait=patience, is_dry=True)
    wait -= time.monotonic() - began
    if expected.is_known and not expected.changed:
        return expected
    known = None if expected.before is None else expected.before.to_record()
    followed = outside_event_loop(lambda: follow(strategy, event, expected))
    return writer.submit(followed, wait=wait, known=known)


def _is_followed(strategy: object) -> bool:
    """Return whether the strategy may have a say when an event comes."""
    return strategies.defines(strategy, *strategies.HOOKS, "meta", "completed")


def _shorten(event: Event) -> Event:
    """Return the event with its sentence shortened to what a document has room for."""
    if isinstance(event, Unsuccessful) and len(event.message) > MAX_SENTENCE:
        return replace(event, message=f"{event.message[: MAX_SENTENCE - 1]}…")
    return event


def refresh(event: Refreshed) -> Job | None:
    """Store what a strategy answered; return the job after it, None if that is not known in time. Never raises."""
    try:
        write = get_writer().submit(event, wait=0 if get_store().waits_for_caller() else WAIT)
    except Exception:
        logger.exception("Tracking of %r failed", event.job_id, extra={"job_id": event.job_id})
        return None
    return write.after if write.is_known else None


def renew(job_id: str, holder: str, seconds: float) -> None:
    """Extend a job's lease, soon; an id that cannot be a job's has none."""
    known = text_of(job_id)
    if is_key(known):
        get_writer().renew(known, holder, seconds)
