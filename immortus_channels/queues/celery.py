"""Celery: its signals, in the order they really come, as events.

Which signal comes when, and in which process, differs by outcome and pool; the traps are named where they are met.
"MAIN" is the worker's main process, whose receivers run on its event hub and must not wait.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextvars import Token
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from inspect import Signature, signature
from typing import Any
from weakref import WeakValueDictionary

from celery import Celery, Task, _state, current_app, signals
from celery.canvas import Signature as CanvasSignature
from celery.canvas import maybe_signature
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, TimeLimitExceeded
from celery.result import AsyncResult, GroupResult
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name

from immortus_channels import queues
from immortus_channels.events import (
    Cancelled,
    Enqueued,
    Event,
    Failed,
    Finished,
    Origin,
    Planned,
    Reported,
    Requeued,
    Retrying,
)
from immortus_channels.exceptions import ConfigurationError, JobCancelled, JobFailed
from immortus_channels.jobs import Job
from immortus_channels.lifecycle import SECOND
from immortus_channels.marking import MARK, Tracking, tracking_of
from immortus_channels.owners import current_owner
from immortus_channels.progress import Run, current_run
from immortus_channels.queues.base import Queue, Tracker
from immortus_channels.values import clean, clean_text

logger = logging.getLogger("immortus_channels")

HEADER = "immortus"
RUN = "immortus_run"
PROBE = "immortus_channels.probe"
"""The task of `immortus_doctor`."""
_WAITING = 86_400.0


class CeleryQueue(Queue):
    """Follows the tracked tasks of every Celery app of this process."""

    name = "celery"

    def __init__(self) -> None:
        self._tracker: Tracker
        self._tracked: dict[str, Tracking] = {}
        self._requests: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._tokens: dict[str, Token[Run | None]] = {}
        self._receivers: list[tuple[Any, Any]] = []

    # The port

    def connect(self, tracker: Tracker) -> None:
        """Connect every signal. Receivers are kept alive by this object, which `queues.connected` holds."""
        self._tracker = tracker
        _state.connect_on_app_finalize(self._find_tasks_of)
        for signal, receiver in (
            (signals.worker_init, self._refuse_green_pool),
            (signals.before_task_publish, self._before_publish),
            (signals.after_task_publish, self._after_publish),
            (signals.task_received, self._received),
            (signals.task_prerun, self._prerun),
            (signals.task_success, self._success),
            (signals.task_failure, self._failure),
            (signals.task_retry, self._retry),
            (signals.task_postrun, self._postrun),
            (signals.task_internal_error, self._internal_error),
            (signals.task_revoked, self._revoked),
            (signals.task_unknown, self._unknown),
            (signals.worker_before_create_process, self._forking),
            (signals.worker_process_shutdown, self._ending),
        ):
            self._receivers.append((signal, _guarded(receiver)))
            signal.connect(self._receivers[-1][1], weak=False)

    def tracking(self, job_class: str) -> Tracking | None:
        """How the task registered under this name is tracked."""
        known = self._tracked.get(job_class)
        return known if known is not None else _tracking(current_app.tasks.get(job_class))

    def tracked_names(self) -> set[str]:
        """The names of the tracked tasks of the current app."""
        return {name for name, task in current_app.tasks.items() if _tracking(task) is not None}

    def name_of(self, task: object) -> str | None:
        """The registered name of a Celery task."""
        return task.name if isinstance(task, Task) else None

    def job_of(self, result: object) -> tuple[str, str] | None:
        """The job behind an AsyncResult (of a chain: its last task's; of a chord: its body's)."""
        if isinstance(result, GroupResult):
            msg = "A group has no job of its own; render one of its results, or a chord's, which is the job of its body."
            raise ConfigurationError(msg)
        if not isinstance(result, AsyncResult):
            return None
        job_class = queues.class_of(result.id) or ""
        if job_class and self.tracking(job_class) is None:
            msg = f"The task {job_class!r} is not tracked; write @tracked under its decorator."
            raise ConfigurationError(msg)
        return result.id, job_class

    def cancel(self, job: Job, *, terminate: bool) -> None:
        """Revoke: a shortcut for a job that waits, the only way to end the process of one that runs."""
        current_app.control.revoke(job.job_id, terminate=terminate)

    def is_eager(self) -> bool:
        """Whether `task_always_eager` is set."""
        return bool(current_app.conf.task_always_eager)

    def problems(self) -> list[CheckMessage]:
        """No app of the project's own, and a pool that cannot be followed."""
        found: list[CheckMessage] = []
        tracked = sorted(self.tracked_names() - {PROBE})
        app = _state.default_app
        if tracked and app.main == "default" and not app.fixups:
            found.append(
                Warning(
                    f"The project's Celery app is not loaded, so {tracked[0]!r} is sent by Celery's default app, which "
                    "knows none of the project's settings, its broker's address least of all.",
                    hint="Write `from .celery import app as celery_app` into the __init__.py beside your celery.py.",
                    id="immortus_channels.W010",
                )
            )
        pool = current_app.conf.worker_pool
        if _is_green(pool):
            found.append(
                Error(
                    f"Celery's worker_pool is {pool!r}, which is not supported: such a worker runs its jobs untracked.",
                    hint="Use 'prefork' or 'threads' (CELERY_WORKER_POOL, or `celery worker --pool`).",
                    id="immortus_channels.E008",
                )
            )
        return found

    def _refuse_green_pool(self, sender: Any, **_: object) -> None:
        """MAIN, before any job. Greenlets share a thread, where an event loop of ours would break every other one."""
        if not _is_green(sender.pool_cls):
            return
        logger.error("The jobs of this worker are not tracked: gevent and eventlet are not supported; use prefork or threads.")
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)

    def _forking(self, **_: object) -> None:
        """MAIN. A fork had better not copy a thread at work; what is not written in time is written afterwards."""
        self._tracker.drain(0.5)

    def _ending(self, **_: object) -> None:
        """A child that ends had better not take along what it has not written."""
        self._tracker.drain()

    # Which tasks

    def _find_tasks_of(self, app: Celery) -> None:
        app.on_after_finalize.connect(_guarded(self._finalized), weak=False)

    def _finalized(self, sender: Celery, **_: object) -> None:
        for name, task in list(sender.tasks.items()):
            tracking = _tracking(task)
            if tracking is not None:
                self._tracked[name] = tracking
                self._refuse_before_start(task)

    def _refuse_before_start(self, task: Task) -> None:
        """Let `Ignore` stop a run whose job is over: only `before_start` can, `task_prerun` cannot.

        Celery looks for `before_start` on the task's class, which is the task's own.
        """
        kind, original = type(task), type(task).before_start
        if getattr(original, "__immortus__", False):
            return

        def before_start(self: Task, task_id: str, args: Any, kwargs: Any) -> None:
            run = current_run.get()
            if run is not None and run.job_id == task_id and run.refused:
                raise Ignore(f"The job {task_id} is over; it is not run.")
            original(self, task_id, args, kwargs)

        before_start.__immortus__ = True  # type: ignore[attr-defined]
        kind.before_start = before_start

    # In the process that sends

    def _before_publish(self, sender: str, body: Any, headers: dict[str, Any], **_: object) -> None:
        tracking = self.tracking(sender)
        job_id = headers.get("id")
        if job_id is None or headers.get("retries"):
            return
        queues.remember(job_id, sender)
        if tracking is None and sender in current_app.tasks:
            return
        if HEADER not in headers:
            args, kwargs, *_embed = body
            headers[HEADER] = _to_header(_origin(tracking, sender, args, kwargs, headers.get("eta")))
        if tracking is None:
            return
        origin = _from_header(headers[HEADER], self.name)
        self._plan_followers(body[2] if len(body) > 2 else {}, origin)  # noqa: PLR2004 - protocol 2's third part
        self._tracker.publish(Enqueued(job_id=job_id, job_class=sender, origin=origin))

    def _after_publish(self, sender: str, headers: Mapping[str, Any], **_: object) -> None:
        """The broker has the message: nobody need fear any more that it was never sent."""
        if self.tracking(sender) is None or headers.get("retries") or HEADER not in headers:
            return
        origin = _from_header(headers[HEADER], self.name)
        delay = max((origin.eta or 0) / SECOND - datetime.now(UTC).timestamp(), 0)
        self._tracker.renew(headers["id"], origin.send_id, delay + _WAITING)

    def _plan_followers(self, embed: Mapping[str, Any], origin: Origin) -> None:
        for name, job_id in _followers(embed.get("chain"), embed.get("chord")):
            if self.tracking(name) is not None:
                planned = Origin(owner=origin.owner, queue=self.name)
                self._tracker.publish(Planned(job_id=job_id, job_class=name, origin=planned), wait=0)

    # In the process that runs

    def _received(self, request: Any, **_: object) -> None:
        """MAIN. Every delivery is a run of its own; its id travels to the child in the request."""
        if self.tracking(request.type) is not None:
            request.request_dict[RUN] = uuid.uuid4().hex
            self._requests[request.id] = request

    def _prerun(self, sender: Task, task_id: str, args: Any, kwargs: Any, **_: object) -> None:
        tracking = self.tracking(sender.name)
        if tracking is None:
            return
        request = sender.request
        origin = self._origin_of(request, tracking, sender.name, args, kwargs)
        if request.is_eager:
            self._tracker.publish(Enqueued(job_id=task_id, job_class=sender.name, origin=origin))
        run_id = getattr(request, RUN, None) or uuid.uuid4().hex
        run = self._tracker.make_run(job_id=task_id, job_class=sender.name, run_id=run_id, origin=origin)
        self._tokens[run_id] = current_run.set(run)
        self._tracker.begin(run)

    def _origin_of(self, request: Any, tracking: Tracking, name: str, args: Any, kwargs: Any) -> Origin | None:
        """What the sender told; known here when this process is the sender, unknown when it did not track."""
        header = getattr(request, HEADER, None) or (request.headers or {}).get(HEADER)
        if header is None and request.is_eager:
            header = _to_header(_origin(tracking, name, args, kwargs, None))
        if header is None:
            return None
        origin = _from_header(header, self.name)
        return replace(origin, cancel=tracking.cancel, handler=origin.handler or _named(tracking.handler))

    def _success(self, sender: Task, result: object, **_: object) -> None:
        run = _run_of(sender.request.id)
        if run is None:
            return
        tracking = self.tracking(sender.name)
        if tracking is not None and tracking.publish_result:
            run.set_result(result)
        self._tracker.end(run, Finished)

    def _failure(self, sender: Task, task_id: str, exception: BaseException, **_: object) -> None:
        """Child, or MAIN when the child cannot speak: hard time limit (twice), killed, rejected."""
        if self.tracking(sender.name) is None:
            return
        run = _run_of(task_id)
        if run is not None:
            self._end_badly(run, exception)
            self._cancel_followers(sender.request.chain, sender.request.chord)
            return
        request = self._requests.get(task_id)
        run_id = request.request_dict.get(RUN, "") if request is not None else ""
        event = _verdict(task_id, sender.name, run_id, exception)
        self._tracker.publish(event, wait=0)
        if request is not None:
            embed = request._payload[2] or {}  # noqa: SLF001 - the request has no public face for the chain
            self._cancel_followers(embed.get("chain"), embed.get("chord"))

    def _end_badly(self, run: Run, exception: BaseException) -> None:
        verdict = _verdict(run.job_id, run.job_class, run.run_id, exception)
        self._tracker.end(run, type(verdict), code=verdict.code, message=verdict.message)

    def _cancel_followers(self, chain: Any, chord: Any) -> None:
        """What was to come after a failed job can no longer run."""
        for name, job_id in _followers(chain, chord):
            if self.tracking(name) is not None:
                self._tracker.publish(Cancelled(job_id=job_id, job_class=name, code="upstream"), wait=0)

    def _retry(self, sender: Task, request: Any, reason: Any = None, **_: object) -> None:
        """Child, or MAIN for a child that cannot speak."""
        if self.tracking(sender.name) is None:
            return
        run = _run_of(request.id)
        if run is None:
            self._retry_from_main(sender, request, reason)
        elif isinstance(reason.exc, JobCancelled | JobFailed):
            self._end_badly(run, reason.exc)
        else:
            self._tracker.end(run, Retrying, eta=_due(reason.when))

    def _retry_from_main(self, sender: Task, request: Any, reason: Any) -> None:
        """Its process was lost and it is sent again (a reason is given), or the worker shuts down cold (none is)."""
        about = {"job_id": request.id, "job_class": sender.name, "run_id": getattr(request, RUN, None) or ""}
        if reason is not None:
            event: Event = Retrying(**about, eta=_due(getattr(reason, "when", None)))
        else:
            event = Requeued(**about) if sender.acks_late else Failed(**about, code="worker_lost")
        self._tracker.publish(event, wait=0)

    def _postrun(self, sender: Task, task_id: str, state: str | None, retval: object, **_: object) -> None:
        """Always in the process that ran, also without an outcome (state None): MAIN will tell that one."""
        run = _run_of(task_id)
        if run is None:
            return
        try:
            if run.refused:
                return
            if state == "IGNORED":
                self._tracker.end(run, Finished)
            elif state == "REJECTED" and isinstance(retval, Reject) and retval.requeue:
                self._tracker.end(run, Requeued)
            elif state == "REJECTED":
                self._tracker.end(run, Failed, code="rejected")
            elif state is None:
                self._tracker.end(run, Reported)
        finally:
            current_run.reset(self._tokens.pop(run.run_id))

    def _internal_error(self, sender: Task, task_id: str, exception: BaseException, **_: object) -> None:
        """Eager with propagation: the only word of a failure, and it comes after postrun."""
        if self.tracking(sender.name) is not None:
            self._tracker.publish(_verdict(task_id, sender.name, "", exception))

    def _revoked(self, sender: Task, request: Any, expired: bool = False, **_: object) -> None:  # noqa: FBT001, FBT002
        """MAIN: found revoked or expired before its start, or its process was terminated."""
        if self.tracking(sender.name) is not None:
            run_id = (getattr(request, RUN, None) or "") if not expired else ""
            code = "expired" if expired else "cancelled"
            self._tracker.publish(
                Cancelled(job_id=request.id, job_class=sender.name, run_id=run_id, code=code), wait=0
            )
            self._cancel_followers(getattr(request, "chain", None), getattr(request, "chord", None))

    def _unknown(self, name: str, id: str, message: Any, **_: object) -> None:  # noqa: A002 - Celery's name
        header = (message.headers or {}).get(HEADER)
        if header is not None:
            origin = _from_header(header, self.name)
            self._tracker.publish(Failed(job_id=id, job_class=name, origin=origin, code="unknown_task"), wait=0)


# Marks and origins


def _tracking(task: Any) -> Tracking | None:
    """The mark on a task: set on itself, on the function under its decorator, or by its base class."""
    if task is None:
        return None
    mark = vars(task).get(MARK) or tracking_of(task.run) or tracking_of(task)
    inline = getattr(task, "tracking_strategy", None)
    return replace(mark, strategy=inline) if mark and inline and not mark.strategy else mark


def _origin(tracking: Tracking | None, name: str, args: Any, kwargs: Any, eta: str | None) -> Origin:
    """What this process knows of the job it sends."""
    parent = current_run.get()
    owner = current_owner()
    if owner is None and parent is not None and parent.origin is not None:
        owner = parent.origin.owner
    params = tracking.params_of(_signature(name), tuple(args or ()), kwargs or {}) if tracking else None
    return Origin(
        send_id=uuid.uuid4().hex,
        owner=owner,
        cancel=tracking.cancel if tracking else "ask",
        handler=_named(tracking.handler) if tracking else "",
        eta=int(datetime.fromisoformat(eta).timestamp() * SECOND) if eta else None,
        params=params,
    )


def _named(handler: Any) -> str:
    return f"{handler.__module__}.{handler.__qualname__}" if isinstance(handler, type) else handler or ""


def _signature(name: str) -> Signature | None:
    task = current_app.tasks.get(name)
    return signature(task.run) if task is not None else None


def _to_header(origin: Origin) -> dict[str, Any]:
    fields = {name: getattr(origin, name) for name in Origin.__slots__}
    return {name: clean(value) for name, value in fields.items() if value not in (None, "")}


def _from_header(header: Mapping[str, Any], queue: str) -> Origin:
    known = {name: value for name, value in header.items() if name in Origin.__slots__}
    return Origin(**{**known, "queue": queue})


def _followers(chain: Any, chord: Any) -> Iterator[tuple[str, str]]:
    """Name and id of what runs only if this task succeeds: the rest of its chain, its chord's body, and theirs."""
    for follower in [*(chain or ()), *([chord] if chord else ())]:
        link = maybe_signature(follower)
        if isinstance(link, CanvasSignature):
            yield from _members(link)


def _members(link: Any) -> Iterator[tuple[str, str]]:
    for nested in getattr(link, "tasks", None) or ():
        yield from _members(maybe_signature(nested))
    body = link.get("kwargs", {}).get("body") if link.get("subtask_type") == "chord" else None
    if body is not None:
        yield from _members(maybe_signature(body))
    job_id = link.get("options", {}).get("task_id")
    if job_id and not link.get("subtask_type"):
        yield str(link.get("task")), job_id


# Outcomes


def _run_of(task_id: str) -> Run | None:
    """The run of this task in the calling thread."""
    run = current_run.get()
    return run if run is not None and run.job_id == task_id else None


def _verdict(job_id: str, job_class: str, run_id: str, exception: BaseException) -> Failed | Cancelled:
    """What an exception means for the job. Its text stays in the log: only JobFailed speaks to end users."""
    match exception:
        case JobCancelled():
            return Cancelled(job_id=job_id, job_class=job_class, run_id=run_id)
        case JobFailed():
            code, message = exception.code, clean_text(exception.message)
        case SoftTimeLimitExceeded() | TimeLimitExceeded():
            code, message = "time_limit", ""
        case Reject():
            code, message = "rejected", ""
        case _:
            code = "worker_lost" if type(exception).__name__ == "WorkerLostError" else "error"
            message = ""
    return Failed(job_id=job_id, job_class=job_class, run_id=run_id, code=code, message=message)


def _due(when: Any) -> int | None:
    """Microseconds since 1970 of a retry given in seconds from now or as a time."""
    if when is None:
        return None
    at = when if isinstance(when, datetime) else datetime.now(UTC) + timedelta(seconds=when)
    return int(at.timestamp() * SECOND)


def _is_green(pool: Any) -> bool:
    """Whether a pool, given as its alias, its path or its class, is of gevent or eventlet."""
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    return "gevent" in name or "eventlet" in name


def _guarded(receiver: Any) -> Any:
    """The receiver, whose failure is logged and never reaches the queue."""

    def receive(**arguments: Any) -> None:
        try:
            receiver(**{name: value for name, value in arguments.items() if name != "signal"})
        except Exception:
            logger.exception("Tracking failed in %s; the job goes on", receiver.__name__)

    return receive
