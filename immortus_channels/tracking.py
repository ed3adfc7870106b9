"""The way of an event: strategy hook, meta, writer. Queue adapters, running jobs and the read path come in here.

Nothing here raises into a job: what fails is logged, and the job goes on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import replace
from typing import Any, TypeVar

from django.db import connections, transaction

from immortus_channels import queues, strategies
from immortus_channels.conf import settings
from immortus_channels.events import (
    Cancelled,
    CancelRequested,
    Claimed,
    Created,
    Event,
    Failed,
    Finished,
    Origin,
    Overdue,
    PageHook,
    Refreshed,
    Started,
    Touched,
)
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.ids import MAX_LENGTH, is_job_id
from immortus_channels.jobs import JSON, Error, Job, State
from immortus_channels.progress import Run, current_run
from immortus_channels.queues.base import Queue
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter
from immortus_channels.values import MAX_SENTENCE, clean_meta, fits, refuse_too_large
from immortus_channels.writer import WAIT, Write, drain, get_writer, perform, report_of

__all__ = [
    "as_it_stands",
    "ask_strategies",
    "begin",
    "cancel",
    "claim",
    "drain",
    "end",
    "guarded",
    "listed",
    "make_run",
    "publish",
    "publish_meta",
    "read",
    "recheck",
    "renew",
    "told_of",
    "touch",
]

logger = logging.getLogger("immortus_channels")

Answer = TypeVar("Answer")


# Writing


def publish(event: Event, *, wait: float = WAIT, known: Job | None = None) -> Job | None:
    """Take an event into the store, with its strategy's hook and meta, and push what changed.

    Returns the job after it, or None when the store has not answered within `wait` seconds; the write is made
    all the same, without a read if the job still stands as it is `known`. Never raises.
    """
    try:
        if not is_job_id(event.job_id) or len(event.job_class) > MAX_LENGTH:
            logger.error(
                "No job can be tracked as %r of %r: ids and names have 1 to 255 characters, no NUL, no half ones",
                event.job_id[:MAX_LENGTH],
                event.job_class[:MAX_LENGTH],
            )
            return None
        write = _publish(event, 0 if get_store().waits_for_caller() else wait, known)
    except queues.interrupts():
        raise
    except Exception:
        logger.exception("Tracking of %r failed; the job goes on", event.job_id, extra={"job_id": event.job_id})
        return None
    return write.after if write.is_known else None


def _publish(event: Event, wait: float, known: Job | None = None) -> Write:
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
    followed = _outside_event_loop(lambda: _followed(strategy, event, expected))
    return writer.submit(followed, wait=wait, known=expected.before)


def _shortened(event: Event) -> Event:
    """The event with no longer a sentence than a document has room for."""
    if isinstance(event, Failed | Cancelled) and len(event.message) > MAX_SENTENCE:
        return replace(event, message=f"{event.message[: MAX_SENTENCE - 1]}…")
    return event


def _followed(strategy: Any, event: Event, expected: Write) -> Event:
    """The event after its hook, with what the strategy says then."""
    token = _told.set(expected.after if expected.is_known else None)
    try:
        _call_hook(strategy, event, expected)
        return _asked(strategy, event)
    finally:
        _told.reset(token)


_told: ContextVar[Job | None] = ContextVar("immortus_told", default=None)


def told_of(job_id: str) -> Job | None:
    """The job as it is about to be written, while its strategy is told of that; None anywhere else."""
    job = _told.get()
    return job if job is not None and job.job_id == job_id else None


def _call_hook(strategy: Any, event: Event, expected: Write) -> None:
    """The strategy's hook for what the event did to the job; for what it usually does when the store is silent."""
    after, before = expected.after, expected.before
    if isinstance(event, Created):  # nobody has sent it; a hook is called when somebody does
        return
    if expected.is_known and after is not None:
        if before is not None and _is_same_stay(before, after):
            return
        name, error = f"job_{_HOOK_OF[after.state]}", after.error
    else:
        name = _USUAL.get(type(event).__name__, "")
        error = Error(code=event.code, message=event.message) if isinstance(event, Failed | Cancelled) else None
    hook = getattr(strategy, name, None)
    if hook is None:
        return
    with guarded(f"{name} of {strategy!r}", event.job_id):
        hook(event.job_id, *([error] if name == "job_failed" else []))


def _is_same_stay(before: Job, after: Job) -> bool:
    """Whether the job stands where it stood; one made by hand stood nowhere until a queue announced it."""
    was_announced = bool(before.job_class or not before.creation)
    return before.state is after.state and before.run_id == after.run_id and was_announced


_HOOK_OF = {state: state.value for state in State} | {State.RUNNING: "started"}
_USUAL = {
    "Planned": "job_enqueued",
    "Enqueued": "job_enqueued",
    "Started": "job_started",
    "Finished": "job_finished",
    "Failed": "job_failed",
    "Retrying": "job_retrying",
    "Cancelled": "job_cancelled",
}


def _asked(strategy: Any, event: Event) -> Event:
    """The event with what the strategy says of the job now."""
    meta = meta_of(strategy, event.job_id)
    if meta is not None:
        event = replace(event, strategy_meta=meta)
    if isinstance(event, Finished):
        event = replace(event, completed=completed_of(strategy, event.job_id) is not False)
    return event


def meta_of(strategy: Any, job_id: str) -> dict[str, JSON] | None:
    """What the strategy wants shown; None when it has no say, or raised (then the last good meta stays)."""
    if not strategies.defines(strategy, "meta"):
        return None
    meta: dict[str, JSON] | None = None
    with guarded(f"meta of {strategy!r}", job_id):
        meta = clean_meta(strategy.meta(job_id) or {}, job_id)
        if not fits(meta):
            meta = None
            refuse_too_large("The strategy's meta", job_id)
    return meta


def completed_of(strategy: Any, job_id: str) -> bool | None:
    """Whether the strategy calls the job done; None when it has no say, or raised."""
    completed: bool | None = None
    if strategies.defines(strategy, "completed"):
        with guarded(f"completed of {strategy!r}", job_id):
            completed = bool(strategy.completed(job_id))
    return completed


@contextmanager
def guarded(what: str, job_id: str) -> Iterator[None]:
    """What user code raises is logged; it runs under savepoints, so that it cannot poison the caller's transaction."""
    try:
        with ExitStack() as savepoints:
            for connection in connections.all(initialized_only=True):
                if connection.in_atomic_block:
                    savepoints.enter_context(transaction.atomic(using=connection.alias))
            yield
    except queues.interrupts():
        raise
    except Exception:
        logger.exception("%s raised; the job goes on", what, extra={"job_id": job_id})


def _outside_event_loop(call: Callable[[], Answer]) -> Answer:
    """What user code that may use the ORM returns: in a thread of its own when an event loop runs in this one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(copy_context().run, call).result()
        finally:
            thread.submit(connections.close_all)


def renew(job_id: str, holder: str, seconds: float) -> None:
    """Move a job's lease, soon."""
    get_writer().renew(job_id, holder, seconds)


# Runs


def make_run(*, job_id: str, job_class: str, run_id: str, origin: Origin | None) -> Run:
    """A run in this process, not begun yet."""
    return Run(job_id=job_id, job_class=job_class, run_id=run_id, origin=origin, notify=_notify)


def _notify(run: Run) -> None:
    """Asked for anew each time: a forked child has a writer of its own."""
    get_writer().notify(run)


def begin(run: Run) -> None:
    """Tell that a run starts; afterwards `run.refused` says whether it must not."""
    strategy = strategies.strategy_of(Job(job_id=run.job_id, job_class=run.job_class))
    run.strategy = strategies.Calling(strategy, after=lambda: _tell_meta(run, strategy))
    run.started(publish(Started(job_id=run.job_id, job_class=run.job_class, run_id=run.run_id, origin=run.origin)))
    if not run.refused:
        get_writer().attach(run)


def end(run: Run, kind: type[Event], **fields: object) -> Job | None:
    """Tell how a run ended, with everything it has said. Never raises."""
    get_writer().detach(run)
    return publish(report_of(run, kind, **fields), known=run.known)


def _tell_meta(run: Run, strategy: Any) -> None:
    meta = _outside_event_loop(lambda: meta_of(strategy, run.job_id))
    if meta is not None:
        run.set_strategy_meta(meta)


def publish_meta(strategy: Any, job_id: str) -> None:
    """Ask the strategy again and store and push what is new. Never raises."""
    run = current_run.get()
    if run is not None and run.job_id == job_id:
        _tell_meta(run, strategy)
        return
    meta, completed = _outside_event_loop(lambda: (meta_of(strategy, job_id), completed_of(strategy, job_id)))
    _refresh(Refreshed(job_id=job_id, strategy_meta=meta, completed=completed))


def _refresh(event: Refreshed) -> Job | None:
    """The job after what its strategy said when it was asked; None when that is not known in time. Never raises."""
    try:
        write = get_writer().submit(event, wait=0 if get_store().waits_for_caller() else WAIT)
    except Exception:
        logger.exception("Tracking of %r failed", event.job_id, extra={"job_id": event.job_id})
        return None
    return write.after if write.is_known else None


# Reading


def read(job_ids: Collection[str]) -> dict[str, Job]:
    """The jobs of these ids as they stand now; unknown ids are absent.

    Overdue jobs are called so first, and strategies that have a say are asked, at most once an interval per job.
    Raises StoreUnavailable.
    """
    reading = get_store().get_many(job_ids)
    for job_id in set(job_ids) - reading.jobs.keys():
        if get_writer().holds(job_id):
            msg = f"The record of {job_id!r} waits to be written."
            raise StoreUnavailable(msg)
    return {job_id: _called_overdue(job, reading.now) or _refreshed(job) or job for job_id, job in reading.jobs.items()}


def as_it_stands(job: Job, now: int) -> Job:
    """The job, called overdue first if it is at `now` by the store's clock; strategies are not asked."""
    return _called_overdue(job, now) or job


def listed(wanted: Filter, *, limit: int, before: int | None) -> list[Job]:
    """The newest jobs that `wanted` lets through, below version `before`.

    Of those whose lease has expired, `limit` are called overdue first, so that the states shown and asked for are those
    of now. Raises StoreUnavailable.
    """
    store = get_store()
    if not get_writer().is_behind:
        overdue = store.list(replace(wanted, states=None, overdue=True), limit=limit)
        for left, job in zip(reversed(range(len(overdue))), overdue, strict=True):
            # Writes are made in order: when the last is done, all are.
            _call_overdue(job, wait=0 if left else WAIT)
    return store.list(wanted, limit=limit, before=before)


def recheck(watched: Mapping[str, str]) -> dict[str, int]:
    """The versions on record of the watched jobs, given as id → class; unknown ids are absent.

    What is found overdue is written and pushed as any change. Raises StoreUnavailable.
    """
    positions = get_store().positions(watched)
    for job_id, position in positions.of.items():
        if position.lease_until is not None and position.lease_until <= positions.now:
            publish(Overdue(job_id=job_id, job_class=watched[job_id]), wait=0)
    return {job_id: position.version for job_id, position in positions.of.items()}


def ask_strategies(watched: Mapping[str, str]) -> None:
    """Ask the strategies that have a say in the watched jobs, given as id → class; what they change is pushed.

    At most once an interval per job. Takes as long as the strategies do. Raises StoreUnavailable.
    """
    speaking = {job_class for job_class in set(watched.values()) if _has_a_say(job_class)}
    asked = [job_id for job_id, job_class in watched.items() if job_class in speaking and _is_due(job_id)]
    for job in get_store().get_many(asked).jobs.values() if asked else ():
        _refreshed(job, is_due=True)


def _called_overdue(job: Job, now: int) -> Job | None:
    if job.is_over or job.lease_until is None or now < job.lease_until:
        return None
    return _call_overdue(job)


def _call_overdue(job: Job, *, wait: float = WAIT) -> Job | None:
    run = current_run.get()
    if run is not None and run.job_id == job.job_id:
        return None  # the job itself asks
    return publish(Overdue(job_id=job.job_id, job_class=job.job_class), wait=wait)


def _has_a_say(job_class: str) -> bool:
    return strategies.defines(strategies.strategy_of(Job(job_id="", job_class=job_class)), "meta", "completed")


def _refreshed(job: Job, *, is_due: bool = False) -> Job | None:
    if (job.is_over and job.state is not State.LOST) or not _has_a_say(job.job_class):
        return None
    if not is_due and not _is_due(job.job_id):
        return None
    strategy = strategies.strategy_of(job)
    meta, completed = meta_of(strategy, job.job_id), completed_of(strategy, job.job_id)
    if (meta is None or meta == job.strategy_meta) and not completed:
        return None
    return _refresh(Refreshed(job_id=job.job_id, strategy_meta=meta, completed=completed))


class _Pace:
    """Lets one question per job through in an interval."""

    def __init__(self, remembered: int = 10_000) -> None:
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._remembered = remembered
        self._lock = threading.Lock()

    def is_due(self, job_id: str, interval: float) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._asked.get(job_id, -interval) < interval:
                return False
            self._asked[job_id] = now
            self._asked.move_to_end(job_id)
            if len(self._asked) > self._remembered:
                self._asked.popitem(last=False)
        return True


_pace = _Pace()


def _is_due(job_id: str) -> bool:
    return _pace.is_due(job_id, settings.RECHECK_INTERVAL)


# Asking


def cancel(job_id: str) -> Job | None:
    """Ask for a job's cancellation; the job after it, None for an unknown id.

    A job that waits is cancelled at once, a running one is asked, or its process ended where its task allows that.
    Raises StoreUnavailable when the store does not answer within 2 seconds.
    """
    known = get_store().get_many([job_id]).jobs.get(job_id)
    if known is None or known.is_over or known.cancel == "never":
        return known
    asked = CancelRequested(job_id=job_id, job_class=known.job_class)
    if get_store().waits_for_caller():
        _publish(asked, wait=0)
        return replace(known, cancel_requested=True)
    write = _publish(asked, wait=2.0)
    if not write.is_known or write.after is None:
        msg = f"The cancellation of {job_id!r} was not confirmed in time; it will be asked for later."
        raise StoreUnavailable(msg)
    _tell_queue(write.after)
    return write.after


def _tell_queue(job: Job) -> None:
    """The queue may save itself the trouble, and alone can end a process. It may also hang: nobody waits for it."""
    queue = queues.by_name(job.queue)
    terminate = job.cancel == "terminate" and job.state is State.RUNNING
    if queue is None or not (terminate or job.is_over):
        return
    threading.Thread(target=_cancel_in_queue, args=(queue, job, terminate), daemon=True).start()


def _cancel_in_queue(queue: Queue, job: Job, terminate: bool) -> None:  # noqa: FBT001 - a thread's target
    try:
        queue.cancel(job, terminate=terminate)
    except Exception:
        logger.exception("The queue could not be told to drop %r", job.job_id, extra={"job_id": job.job_id})


def claim(job: Job, hook: PageHook) -> bool:
    """Whether the caller is the one who may call this hook of the job's page; it is asked once.

    Written here and now, not by the writer: what is written later nobody would act upon. Raises StoreUnavailable.
    """
    if hook in job.claims:
        return False
    event = Claimed(job_id=job.job_id, hook=hook, claim=uuid.uuid4().hex)
    write = Write(event)
    perform(write)
    return write.after is not None and write.after.claims.get(hook) == event.claim


def touch(job_id: str, above: int) -> None:
    """Lift the job's version above what browsers hold: its store went back in time."""
    get_writer().submit(Touched(job_id=job_id, above=above))
