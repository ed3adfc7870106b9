"""A strategy's hooks for events, and its answers about its job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar

from django.db import connections, transaction

from immortus_channels import queues
from immortus_channels.guarded import quoted
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Event, Finished, Unsuccessful
from immortus_channels.jobs.job import JSON, Job
from immortus_channels.keys import name_in
from immortus_channels.logs import logger
from immortus_channels.threads import call_in_thread, is_in_event_loop
from immortus_channels.tracking import strategies
from immortus_channels.writer import Write
from immortus_channels.writer.values import clean_meta, fits, refuse_too_large

Answer = TypeVar("Answer")


_job_in_hook: ContextVar[Job | None] = ContextVar("immortus_job_in_hook", default=None)


def follow(strategy: Any, event: Event, expected: Write) -> Event:
    """Call the strategy's hook for the event; return the event with the strategy's answers after it."""
    token = _job_in_hook.set(expected.after if expected.is_known else None)
    try:
        _call_hook(strategy, event, expected)
        return _with_answers(strategy, event)
    finally:
        _job_in_hook.reset(token)


def job_in_hook(job_id: str) -> Job | None:
    """Return the job as it is about to be written, while its strategy reacts to that; None anywhere else."""
    job = _job_in_hook.get()
    return job if job is not None and job.job_id == job_id else None


def _call_hook(strategy: Any, event: Event, expected: Write) -> None:
    """Call the strategy's hook for the job's new state or, when the store is silent, for the event's usual one."""
    if event.traits.hook is None:
        return
    after, before = expected.after, expected.before
    if expected.is_known and after is not None:
        if before is not None and _is_same_stay(before, after):
            return
        name, error = after.state.hook, after.error
    else:
        name, error = event.traits.hook, event.error if isinstance(event, Unsuccessful) else None

    def call() -> None:
        hook = getattr(strategy, name, None)
        if hook is not None:
            hook(name_in(event.job_id), *([error] if name == "job_failed" else []))

    call_safely(f"{name} of {quoted(strategy)}", event.job_id, call)


def _is_same_stay(before: Job, after: Job) -> bool:
    """Return whether the job stands where it stood; one made by hand stood nowhere until a queue announced it."""
    was_announced = bool(before.job_class or not before.creation)
    return before.state is after.state and before.run_id == after.run_id and was_announced


def _with_answers(strategy: Any, event: Event) -> Event:
    """Return the event with the strategy's answers about the job now."""
    meta = meta_of(strategy, event.job_id)
    if meta is not None:
        event = replace(event, strategy_meta=meta)
    if isinstance(event, Finished):
        event = replace(event, completed=completed_of(strategy, event.job_id) is not False)
    return event


def meta_of(strategy: Any, job_id: str) -> dict[str, JSON] | None:
    """Return the strategy's meta; None when it has no say, or raised (then the last good meta stays)."""
    if not strategies.defines(strategy, "meta"):
        return None
    return call_safely(f"meta of {quoted(strategy)}", job_id, lambda: _clean_meta_of(strategy, job_id))


def _clean_meta_of(strategy: Any, job_id: str) -> dict[str, JSON] | None:
    meta = clean_meta(strategy.meta(name_in(job_id)) or {}, job_id, by_caller=False)
    if fits(meta):
        return meta
    refuse_too_large("The strategy's meta", job_id)
    return None


def completed_of(strategy: Any, job_id: str) -> bool | None:
    """Return whether the strategy calls the job done; None when it has no say, or raised."""
    if not strategies.defines(strategy, "completed"):
        return None
    what = f"completed of {quoted(strategy)}"
    return call_safely(what, job_id, lambda: bool(strategy.completed(name_in(job_id))))


def call_safely(what: str, job_id: str, call: Callable[[], Answer]) -> Answer | None:
    """Return what the project's code returns; None if it raises, which is logged as a failure of `what`.

    The code runs in the job's namespace, and under savepoints, so that it cannot poison the caller's transaction.
    """
    try:
        with ExitStack() as savepoints, namespaces.inside_of(job_id):
            for connection in connections.all(initialized_only=True):
                if connection.in_atomic_block:
                    savepoints.enter_context(transaction.atomic(using=connection.alias))
            return call()
    except queues.interrupts():
        raise
    except Exception:
        logger.exception("%s raised; the job continues", what, extra={"job_id": job_id})
        return None


def outside_event_loop(call: Callable[[], Answer]) -> Answer:
    """Return the result of user code that may use the ORM: in a thread of its own if this one runs an event loop."""
    return call_in_thread(call).result() if is_in_event_loop() else call()
