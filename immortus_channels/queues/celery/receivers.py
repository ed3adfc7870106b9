"""Celery's signals on their way to `Sending` and `Running`, which are loaded when one may concern a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from celery import _state, signals

from immortus_channels.current import run_here
from immortus_channels.loading import Later
from immortus_channels.queues.celery.marks import HEADER, STANDS_FOR, key_by
from immortus_channels.queues.classes import untracked
from immortus_channels.queues.hooks import guard
from immortus_channels.queues.tracked import TaskOptions, unmarked

if TYPE_CHECKING:
    from immortus_channels.queues.celery import publish_signals, worker_signals
    from immortus_channels.queues.port import Port
else:
    publish_signals = Later("immortus_channels.queues.celery.publish_signals")
    worker_signals = Later("immortus_channels.queues.celery.worker_signals")


class Receivers:
    """Lets signals of tasks that are no jobs pass, and any other reach `Sending` and `Running`."""

    def __init__(self, port: Port, options_of: Callable[[str], TaskOptions | None]) -> None:
        self._port = port
        self._options_of = options_of
        self._requests: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._tasks: Mapping[str, object] = {}
        """Those of the app that was the current one when a task was last looked up."""
        self._worker: Any = None
        self._loaded: dict[str, Any] = {}

    def each(self) -> Iterator[tuple[Any, Callable[..., None]]]:
        """Yield the signals, each with its receiver; what a receiver raises is logged and does not reach the queue."""
        yield from (
            (signals.worker_init, self.starting),
            (signals.before_task_publish, self._before()),
            (signals.task_received, self._received()),
            (signals.task_prerun, self._prerun()),
            (signals.task_success, self._success()),
            (signals.task_failure, partial(self._tell, "failure")),
            (signals.task_retry, partial(self._tell, "retry")),
            (signals.task_postrun, self._postrun()),
            (signals.task_internal_error, partial(self._tell, "internal_error")),
            (signals.task_revoked, partial(self._tell, "revoked")),
            (signals.task_unknown, partial(self._tell, "unknown")),
            (signals.worker_before_create_process, partial(self._drain, 0.5)),
            (signals.worker_process_shutdown, self._drain),
        )

    def starting(self, sender: Any, **_: Any) -> None:
        """Note the worker, in MAIN, before any job."""
        self._worker = sender

    # What untracked tasks pass: functions, as Celery's call of a method by keywords takes longer than what they do

    def _before(self) -> Callable[..., None]:
        """Return what notes an untracked task that is sent; it passes on one that may concern a job.

        That is the task, the one that sends it, or those that follow.
        """

        def before(sender: str, body: Any, headers: dict[str, Any], **_: Any) -> None:
            job_id = headers.get("id")
            if job_id is None:
                return
            embed = body[2]
            if (
                (self._tasks.get(sender, self) in unmarked or self._is_untracked(sender))
                and HEADER not in headers
                and run_here() is None
                and not (embed.get("chain") or embed.get("chord") or embed.get("callbacks") or embed.get("errbacks"))
                and (headers.get("parent_id") is None or not _is_running(job_id))
            ):
                untracked.append((job_id, sender))
            else:
                guard(self._sender().before)(sender=sender, body=body, headers=headers)

        return before

    def _after(self) -> Callable[..., None]:
        """Return what passes on a message to which `before` has given a job's header.

        It is connected with the first that may get one: calling a receiver takes Celery longer than all else here.
        """

        def after(sender: str, headers: Mapping[str, Any], **_: Any) -> None:
            if HEADER in headers:
                guard(self._sender().after)(sender=sender, headers=headers)

        return after

    def _received(self) -> Callable[..., None]:
        """Return what notes, in MAIN, a request that is a job's or that one may wait for; it passes on a job's."""

        def received(request: Any, **_: Any) -> None:
            is_job = not self._is_untracked(request.type) or STANDS_FOR in request.request_dict
            embed = request._payload[2] or {}  # noqa: SLF001 - the request has no public face for the chain
            if is_job or embed.get("chain") or embed.get("chord"):
                self._requests[key_by(request.request_dict, request.id)] = request
            if is_job:
                guard(self._runner().received)(request=request)

        return received

    def _prerun(self) -> Callable[..., None]:
        """Return what passes on all but the start of a task that is no job and for which no job waits."""

        def prerun(sender: Any, **arguments: Any) -> None:
            request = sender.request_stack.top  # the property `request` takes as long as all the rest
            is_untracked = sender in unmarked or self._is_untracked(sender.name)
            if not is_untracked or (request is not None and _is_special(request)):
                self._tell("prerun", sender=sender, **arguments)

        return prerun

    def _success(self) -> Callable[..., None]:
        """Return what passes on the success of a run."""

        def success(sender: Any, **arguments: Any) -> None:
            if run_here() is not None:
                self._tell("success", sender=sender, **arguments)

        return success

    def _postrun(self) -> Callable[..., None]:
        """Return what passes on the end of a run, and one without another signal for which a job may wait."""

        def postrun(sender: Any, state: str | None, **arguments: Any) -> None:
            if run_here() is not None or (state in _UNSIGNALLED and not self._is_plain(sender)):
                self._tell("postrun", sender=sender, state=state, **arguments)

        return postrun

    def _is_untracked(self, name: str) -> bool:
        """Return whether this names a task that is registered here and not tracked."""
        if self._tasks.get(name, self) in unmarked:  # what other queues put there is not Celery's to judge
            return True
        tasks = self._tasks = _state.get_current_app().tasks
        task = tasks.get(name)
        if task is None or self._options_of(name) is not None:
            return False
        unmarked.add(task)
        return True

    def _is_plain(self, task: Any) -> bool:
        """Return whether the task that runs here is no job, continues none, and none waits for it."""
        return self._is_untracked(task.name) and not _is_special(task.request)

    # What is loaded when needed

    def _tell(self, method: str, signal: object = None, **arguments: Any) -> None:
        guard(getattr(self._runner(), method))(**arguments)

    def _drain(self, *timeout: float, **_: Any) -> None:
        """Drain before a fork, in MAIN, which should not copy a busy thread; or before a child ends, and its memory."""
        if "immortus_channels.writer" in sys.modules:
            guard(self._port.tracker.drain)(*timeout)

    # Threads may be the first at the same time; `setdefault` lets one win, and is no lock that a fork could copy.

    def _sender(self) -> publish_signals.Sending:
        if "sending" not in self._loaded:
            signals.after_task_publish.connect(self._after(), weak=False, dispatch_uid=self)
            self._loaded.setdefault("sending", publish_signals.Sending(self._port, self._options_of))
        sending: publish_signals.Sending = self._loaded["sending"]
        return sending

    def _runner(self) -> worker_signals.Running:
        if "running" not in self._loaded:
            self._loaded.setdefault("running", worker_signals.Running(self._port, self._options_of, self._requests))
        running: worker_signals.Running = self._loaded["running"]
        running.worker = self._worker
        return running


_UNSIGNALLED = frozenset(("IGNORED", "REJECTED", None))
"""The states of tasks whose end only `task_postrun` reports."""


def _is_running(job_id: object) -> bool:
    """Return whether this is the task that runs here, which sends another one in its place."""
    task = _state.get_current_task()
    return task is not None and str(task.request.id) == str(job_id)


def _is_special(request: Any) -> object:
    """Return whether a task with this request continues a job, whether one may wait for it, or whether it is eager."""
    about = request.__dict__  # to ask a request for what it does not have takes longer
    return about.get("chain") or about.get("chord") or about.get("is_eager") or STANDS_FOR in about
