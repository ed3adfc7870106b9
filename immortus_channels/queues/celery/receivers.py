"""Celery's signals on their way to `Sending` and `Running`, which are loaded when one may concern a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from celery import _state, signals

from immortus_channels.loading import Later
from immortus_channels.queues import classes
from immortus_channels.queues.celery.marks import HEADER, STANDS_FOR, key_by
from immortus_channels.queues.tracked import TaskOptions, unmarked

if TYPE_CHECKING:
    from immortus_channels.jobs import ids
    from immortus_channels.queues.celery import publish_signals, worker_signals
    from immortus_channels.queues.port import Port
else:
    ids = Later("immortus_channels.jobs.ids")
    publish_signals = Later("immortus_channels.queues.celery.publish_signals")
    worker_signals = Later("immortus_channels.queues.celery.worker_signals")


class Receivers:
    """Lets signals of tasks that are no jobs pass, and any other reach `Sending` and `Running`."""

    def __init__(self, port: Port, options_of: Callable[[str], TaskOptions | None]) -> None:
        self._port = port
        self._options_of = options_of
        self._requests: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._worker: Any = None
        self._loaded: dict[str, Any] = {}
        self._run_here: Callable[[], object] = lambda: None

    def each(self) -> Iterator[tuple[Any, Callable[..., None]]]:
        """Yield the signals, each with its receiver."""
        yield from (
            (signals.worker_init, self.starting),
            (signals.before_task_publish, self.before),
            (signals.after_task_publish, self.after),
            (signals.task_received, self.received),
            (signals.task_prerun, self.prerun),
            (signals.task_success, self.success),
            (signals.task_failure, partial(self._tell, "failure")),
            (signals.task_retry, partial(self._tell, "retry")),
            (signals.task_postrun, self.postrun),
            (signals.task_internal_error, partial(self._tell, "internal_error")),
            (signals.task_revoked, partial(self._tell, "revoked")),
            (signals.task_unknown, partial(self._tell, "unknown")),
            (signals.worker_before_create_process, partial(self._drain, 0.5)),
            (signals.worker_process_shutdown, self._drain),
        )

    # A task that is sent

    def before(self, sender: Any, body: Any, headers: dict[str, Any], **_: Any) -> None:
        """Pass on what may concern a job: the task, the one that sends it, or those that follow."""
        job_id = headers.get("id")
        if job_id is None:
            return
        embed = body[2]
        if (
            headers.get("retries")
            or HEADER in headers
            or self._run_here() is not None
            or not self._is_untracked(sender)
            or embed.get("chain")
            or embed.get("chord")
            or embed.get("callbacks")
            or embed.get("errbacks")
            or (headers.get("parent_id") is not None and _is_running(job_id))
        ):
            self._sender().before(sender=sender, body=body, headers=headers)
        else:
            classes.untracked.append((job_id if type(job_id) is str else ids.text_of(job_id) or job_id, sender))

    def after(self, sender: Any, headers: Mapping[str, Any], **_: Any) -> None:
        """Pass on what `before` has given a job's header."""
        if HEADER in headers:
            self._sender().after(sender=sender, headers=headers)

    # A task that runs

    def starting(self, sender: Any, **_: Any) -> None:
        """Note the worker, in MAIN, before any job."""
        self._worker = sender

    def received(self, request: Any, **_: Any) -> None:
        """Note the request, in MAIN, and pass it on if it is a job's."""
        self._requests[key_by(request.request_dict, request.id)] = request
        if STANDS_FOR in request.request_dict or not self._is_untracked(request.type):
            self._runner().received(request=request)

    def prerun(self, sender: Any, **arguments: Any) -> None:
        """Pass on all but the start of a task that is no job and for which no job waits."""
        request = sender.request_stack.top  # the property `request` takes as long as all the rest
        if unmarked.get(sender.name) is not sender or request is None or _is_special(request):
            self._begin(sender, arguments)

    def _begin(self, task: Any, arguments: dict[str, Any]) -> None:
        if not self._is_plain(task):
            self._tell("prerun", sender=task, **arguments)

    def success(self, sender: Any, **arguments: Any) -> None:
        """Pass on the success of a run."""
        if self._run_here() is not None:
            self._tell("success", sender=sender, **arguments)

    def postrun(self, sender: Any, state: str | None, **arguments: Any) -> None:
        """Pass on the end of a run, and of a task that ended without another signal and for which a job may wait."""
        if self._run_here() is not None or (state in _UNSIGNALLED and not self._is_plain(sender)):
            self._tell("postrun", sender=sender, state=state, **arguments)

    def _is_untracked(self, name: str) -> bool:
        """Return whether this names a task that is registered here and not tracked."""
        app = _state.get_current_app()
        tasks = app.__dict__.get("tasks")  # the property takes a microsecond
        task = (app.tasks if tasks is None else tasks).get(name)
        if task is None:
            return False
        if unmarked.get(name) is not task:
            if self._options_of(name) is not None:
                return False
            unmarked[name] = task
        return True

    def _is_plain(self, task: Any) -> bool:
        """Return whether the task that runs here is no job, continues none, and none waits for it."""
        return self._is_untracked(task.name) and not _is_special(task.request)

    # What is loaded when needed

    def _tell(self, method: str, signal: object = None, **arguments: Any) -> None:
        getattr(self._runner(), method)(**arguments)

    def _drain(self, *timeout: float, **_: Any) -> None:
        """Drain before a fork, in MAIN, which should not copy a busy thread; or before a child ends, and its memory."""
        if "immortus_channels.writer" in sys.modules:
            self._port.tracker.drain(*timeout)

    # Threads may be the first at the same time; `setdefault` lets one win, and is no lock that a fork could copy.

    def _sender(self) -> publish_signals.Sending:
        if "sending" not in self._loaded:
            self._loaded.setdefault("sending", publish_signals.Sending(self._port, self._options_of))
        sending: publish_signals.Sending = self._loaded["sending"]
        self._run_here = sending.run_here
        return sending

    def _runner(self) -> worker_signals.Running:
        if "running" not in self._loaded:
            self._loaded.setdefault("running", worker_signals.Running(self._port, self._options_of, self._requests))
        running: worker_signals.Running = self._loaded["running"]
        running.worker = self._worker
        self._run_here = running.run_here
        return running


_UNSIGNALLED = ("IGNORED", "REJECTED", None)
"""The states of tasks whose end only `task_postrun` reports."""


def _is_running(job_id: object) -> bool:
    """Return whether this is the task that runs here, which sends another one in its place."""
    task = _state.get_current_task()
    return task is not None and str(task.request.id) == str(job_id)


def _is_special(request: Any) -> bool:
    """Return whether a task with this request continues a job, whether one may wait for it, or whether it is eager."""
    return (
        request.chain
        or request.chord
        or request.is_eager
        or STANDS_FOR in request.__dict__
        or (request.headers and STANDS_FOR in request.headers)
    )
