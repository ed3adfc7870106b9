"""Celery's signals in a worker.

Which one comes when, and in which process, differs by outcome and pool. "MAIN" is the worker's main process: it reports
children that cannot report themselves, on its event hub, and so waits for nothing. In other pools all is one process.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any

from celery import Task

from immortus_channels import queues
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Cancelled, Enqueued, Event, Failed, Finished, Origin, Requeued, Retrying
from immortus_channels.jobs.ids import text_of
from immortus_channels.jobs.job import State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.keys import name_in, namespace_of
from immortus_channels.queues import classes
from immortus_channels.queues.celery import pools, time_limits, written
from immortus_channels.queues.celery.canvas import class_of, followers
from immortus_channels.queues.celery.marks import HEADER, OWNER, QUEUE, STANDS_FOR
from immortus_channels.queues.celery.origins import header_of, key_for, origin_of
from immortus_channels.queues.celery.outcomes import verdict
from immortus_channels.queues.celery.silent_ends import end_of
from immortus_channels.queues.hooks import guard
from immortus_channels.queues.messages import from_header, is_second, job_in, key_in, namespace_in
from immortus_channels.queues.moments import due
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.queues.tracker import Tracker
from immortus_channels.writer.run import Run, current_run

RUN = "immortus_run"


class Running:
    """Reports tasks that run."""

    run_here = current_run.get

    def __init__(
        self, tracker: Tracker, options_of: Callable[[str], TaskOptions | None], requests: Mapping[str, Any]
    ) -> None:
        """Begin with the requests that were received before, by the keys of their jobs; more may come."""
        self._tracker = tracker
        self._options_of = options_of
        self._requests = requests
        self._tokens: dict[str, tuple[Token[Run | None], namespaces.Entered]] = {}
        self.worker: Any = None

    def _class_of(self, task: Task, request: Any) -> str:
        if request.is_eager and self._options_of(task.name) is None:
            around = _run_of(request.id)  # eager, `task.replace()` runs others here and now, and sends no header
            return task.name if around is None else around.job_class
        return class_of(task.name, {STANDS_FOR: header_of(request, STANDS_FOR)}, self._options_of)

    # Beginning

    @guard
    def received(self, request: Any, **_: object) -> None:
        """Give the delivery a run id, in MAIN: each delivery is a run; the request takes the id to the child."""
        if self._options_of(class_of(request.type, request.request_dict, self._options_of)) is not None:
            request.request_dict[RUN] = uuid.uuid4().hex
            time_limits.grant(request, self.worker)

    @guard
    def prerun(self, sender: Task, task_id: str, args: Any, kwargs: Any, **_: object) -> None:
        """Begin the run; an eager one was never sent, so it is enqueued first."""
        request = sender.request
        job_class = self._class_of(sender, request)
        options = self._options_of(job_class)
        if request.is_eager:
            classes.remember(key_for(request, task_id), job_class)
        if options is None:
            if request.chain or request.chord:  # jobs may wait for a task that is not a job
                written.watch(sender.backend)
            return
        origin, job_id = origin_of(request, options, sender.name, args, kwargs), key_for(request, task_id)
        if request.is_eager:
            self._tracker.publish(Enqueued(job_id=job_id, job_class=job_class, origin=origin))
        run_id = _run_id(request) or uuid.uuid4().hex
        run = self._tracker.make_run(job_id=job_id, job_class=job_class, run_id=run_id, origin=origin)
        entered = namespaces.enter(namespace_of(run.job_id))
        self._tokens[run_id] = current_run.set(run), entered
        time_limits.begin(request)
        self._tracker.begin(run, known=job_in(header_of(request, HEADER), job_id, job_class))
        written.watch(sender.backend)

    # Ending, as reported by the process that ran the task

    @guard
    def success(self, sender: Task, result: object, **_: object) -> None:
        """End the run of a task that returned. The signal does not name the job; its request does."""
        run = _run_of(sender.request.id)
        if run is not None:
            try:
                self._publish_result(run, result)
            finally:
                self._tracker.end(run, Finished)

    def _publish_result(self, run: Run, result: object) -> None:
        options = self._options_of(run.job_class)
        if options is not None and options.publish_result:
            run.set_result(result, by_caller=False)

    @guard
    def failure(self, sender: Task, task_id: str, exception: BaseException, **_: object) -> None:
        """End the run of a task that raised; or MAIN reports a hard time limit (twice), a killed child, a rejection."""
        run = _run_of(task_id)
        if run is not None:
            # The signal's exception may have been pickled and lost its cause: this is what the task raised.
            self._end_badly(run, sys.exception() or exception, sender.request)
            self._cancel_followers(sender.request)
        elif self._options_of(sender.name) is None and sender.request.id == task_id:  # jobs may wait for it
            self._cancel_followers(sender.request)
        else:
            self._failure_from_main(sender, task_id, exception)

    @guard
    def retry(self, sender: Task, request: Any, reason: Any = None, **_: object) -> None:
        """End a run that asked to run again; it has been sent already, and a cancelled job will refuse to start."""
        run = _run_of(request.id)
        if run is not None and time_limits.was_told_to_stop(reason.exc, request):
            self._end_badly(run, reason.exc, request)
            self._cancel_followers(request)
        elif run is not None:
            job = self._tracker.end(run, Retrying, eta=due(reason.when))
            if job is not None and job.state is State.CANCELLED:  # it was asked to stop
                self._cancel_followers(request)
        elif self._options_of(self._class_of(sender, request)) is not None:
            self._retry_from_main(sender, request, reason)

    @guard
    def postrun(self, sender: Task, task_id: str, state: str | None, retval: object, **_: object) -> None:
        """End the run after all other signals, also without an outcome (state None), which MAIN will report."""
        run, request = _run_of(task_id), sender.request
        end = end_of(sender, state, retval, self.worker)
        try:
            if run is not None and not run.refused and end is not None:
                if end.kind is Finished and state == "SUCCESS":
                    self._publish_result(run, retval)
                self._tracker.end(run, end.kind, **end.fields)
            if end is not None and end.ends_chain and (run is not None or not self._is_job(sender)):
                self._cancel_followers(request)  # jobs may wait for it, tracked or not
        finally:
            if run is not None:
                token, entered = self._tokens.pop(run.run_id)
                current_run.reset(token)
                namespaces.leave(entered)

    def _is_job(self, task: Task) -> bool:
        return self._options_of(self._class_of(task, task.request)) is not None

    @guard
    def internal_error(self, sender: Task, task_id: str, exception: BaseException, **_: object) -> None:
        """Report a failure that an eager task propagates: no other signal does, and this one comes after postrun."""
        if self._options_of(sender.name) is not None:
            event_type, fields = verdict(exception, task_id)
            job_id = key_for(sender.request, task_id)
            self._tracker.publish(event_type(job_id=job_id, job_class=sender.name, **fields))

    def _end_badly(self, run: Run, exception: BaseException, request: Any) -> None:
        if time_limits.was_told_to_stop(exception, request):
            self._tracker.end(run, Cancelled)
            return
        event_type, fields = verdict(exception, name_in(run.job_id), asked=run.asked)
        self._tracker.end(run, event_type, **fields)

    def _cancel_followers(self, request: Any) -> None:
        """Cancel the jobs that were to follow the failed task of this request: they can no longer run."""
        chain, chord = getattr(request, "chain", None), getattr(request, "chord", None)
        namespace = namespace_in(header_of(request, HEADER), header_of(request, OWNER))
        self._cancel(chain, chord, namespace)

    def _cancel(self, chain: Any, chord: Any, namespace: str) -> None:
        for job_class, task_id, replaces in followers(chain, chord):
            if self._options_of(job_class) is not None:
                job_id = key_in(namespace, task_id)
                event = Cancelled(job_id=job_id, job_class=job_class, code="upstream", after_run=replaces)
                self._tracker.publish(event, wait=0)

    # Ending, as reported by MAIN

    def _failure_from_main(self, sender: Task, task_id: str, exception: BaseException) -> None:
        request = self._request_of(task_id)
        if request is None and namespaces.are_used():
            return
        of_request = request.request_dict if request is not None else {}
        namespace = namespace_in(of_request.get(HEADER), of_request.get(OWNER))
        job_class = class_of(sender.name, of_request, self._options_of)
        is_requeued = time_limits.goes_back(sender, exception)
        if self._options_of(job_class) is not None:
            # If one worker has two deliveries of a task, Celery names the one that failed, where it can.
            run_id = _run_id(sender.request) if sender.request.id == task_id else of_request.get(RUN, "")
            job_id = key_in(namespace, task_id)
            about: dict[str, Any] = {"job_id": job_id, "job_class": job_class, "run_id": run_id}
            if is_requeued:
                self._tracker.publish(Requeued(**about), wait=0)
            else:
                self._publish_failure(exception, about, getattr(request, "time_start", None))
        if request is not None and not is_requeued:
            embed = request._payload[2] or {}  # noqa: SLF001 - the request has no public face for the chain
            self._cancel(embed.get("chain"), embed.get("chord"), namespace)

    def _request_of(self, task_id: str) -> Any:
        """Return the delivery of this id, as far as MAIN knows one; of those of several namespaces, the one that runs.

        Celery does not say which of them failed; where several run, their leases tell.
        """
        if not namespaces.are_used():
            return self._requests.get(task_id)
        found = [one for key, one in self._requests.items() if name_in(str(key)) == str(task_id)]
        running = [one for one in found if one.time_start is not None]
        return (running or found or [None])[0] if len(running) < 2 else None  # noqa: PLR2004

    def _publish_failure(self, exception: BaseException, about: dict[str, Any], began: float | None) -> None:
        event_type, fields = verdict(exception, name_in(str(about["job_id"])))
        end, queue = event_type(**about, **fields), queues.by_name(QUEUE)
        if queue is not None and began is not None and pools.is_lost_unseen(exception):
            self._tracker.publish_end(end, queue=queue, since=int(began * SECOND))
        else:
            self._tracker.publish(end, wait=0)

    def _retry_from_main(self, sender: Task, request: Any, reason: Any) -> None:
        """Report a resent task of a lost child (with a reason), or a worker's cold shutdown (without)."""
        job_id, job_class = key_for(request, request.id), self._class_of(sender, request)
        about = {"job_id": job_id, "job_class": job_class, "run_id": _run_id(request)}
        if reason is not None:
            event: Event = Retrying(**about, eta=due(getattr(reason, "when", None)))
        else:
            event = Requeued(**about) if sender.acks_late else Failed(**about, code="worker_lost")
        self._tracker.publish(event, wait=0)
        if isinstance(event, Failed):
            self._cancel_followers(request)

    @guard
    def revoked(
        self,
        sender: Task,
        request: Any,
        *,
        terminated: bool = False,
        signum: object = None,
        expired: bool = False,
        **_: object,
    ) -> None:
        """Report a task revoked or expired before its start, or whose process was terminated; only that had a run."""
        job_class, header = self._class_of(sender, request), header_of(request, HEADER)
        if self._options_of(job_class) is not None and not (expired and is_second(header)):
            about: dict[str, Any] = {"job_id": key_for(request, request.id), "job_class": job_class}
            if terminated:
                was_asked = pools.was_asked_to_end(signum)
                about |= {"run_id": _run_id(request)}
                event: Event = Cancelled(**about) if was_asked else Failed(**about, code="worker_lost")
            else:
                origin = from_header(header) if header else Origin(staff_only=True)
                event = Cancelled(**about, origin=origin, code="expired" if expired else "cancelled", unstarted=True)
            self._tracker.publish(event, wait=0)
        self._cancel_followers(request)

    @guard
    def unknown(self, name: str, id: str, message: Any, **_: object) -> None:  # noqa: A002 - Celery's name
        """Report a task that its sender tracks and that is not registered in this worker."""
        headers = message.headers or {}
        header = headers.get(HEADER)
        if header is not None:
            namespace = namespace_in(header)
            if not is_second(header):
                job_id, job_class = key_in(namespace, id), class_of(name, headers, self._options_of)
                about: dict[str, Any] = {"job_id": job_id, "job_class": job_class}
                event = Failed(**about, origin=from_header(header), code="unknown_task", unstarted=True)
                self._tracker.publish(event, wait=0)
            embed = message.payload[2] or {}
            self._cancel(embed.get("chain"), embed.get("chord"), namespace)


def _run_id(request: Any) -> str:
    return getattr(request, RUN, None) or ""


def _run_of(task_id: str) -> Run | None:
    """Return the run of this task in the calling thread."""
    run = current_run.get()
    return run if run is not None and name_in(run.job_id) == (text_of(task_id) or task_id) else None
