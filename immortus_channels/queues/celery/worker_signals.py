"""Celery's signals in a worker.

Which one comes when, and in which process, differs by outcome and pool. "MAIN" is the worker's main process: it reports
children that cannot report themselves, on its event hub, and so waits for nothing. In other pools all is one process.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from celery import Task

from immortus_channels import queues
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Cancelled, Event, Failed, Finished, Requeued, Retrying
from immortus_channels.jobs.job import State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.keys import name_in
from immortus_channels.queues import classes
from immortus_channels.queues.celery import pools, time_limits, written
from immortus_channels.queues.celery.canvas import class_of, followers
from immortus_channels.queues.celery.headers import header_of, key_for
from immortus_channels.queues.celery.marks import HEADER, OWNER, QUEUE, STANDS_FOR
from immortus_channels.queues.celery.outcomes import verdict
from immortus_channels.queues.celery.silent_ends import end_of
from immortus_channels.queues.deliveries import Delivery
from immortus_channels.queues.hooks import guard
from immortus_channels.queues.messages import is_about, is_second, key_in, namespace_in
from immortus_channels.queues.moments import due
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions

RUN = "immortus_run"


class Running:
    """Reports tasks that run."""

    def __init__(
        self, port: Port, options_of: Callable[[str], TaskOptions | None], requests: Mapping[str, Any]
    ) -> None:
        """Begin with the requests that were received before, by the keys of their jobs; more may come."""
        self._port = port
        self._options_of = options_of
        self._requests = requests
        self.worker: Any = None

    def _class_of(self, task: Task, request: Any) -> str:
        if request.is_eager and self._options_of(task.name) is None:
            around = self._port.inside(request.id)  # eager, `task.replace()` runs others here, and sends no header
            return task.name if around is None else around.run.job_class
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
        if options is not None:
            if request.is_eager:
                self._send_eagerly(sender, job_class, options, args, kwargs)
            time_limits.begin(request)
            header, planned = header_of(request, HEADER), header_of(request, OWNER)
            self._port.begin(task_id, job_class, options, run_id=_run_id(request), header=header, planned=planned)
        elif request.is_eager:
            classes.remember(key_for(request, task_id), job_class)
        if options is not None or request.chain or request.chord:  # jobs may wait for a task that is not a job
            written.watch(sender.backend)

    def _send_eagerly(self, task: Task, job_class: str, options: TaskOptions, args: Any, kwargs: Any) -> None:
        """Tell the sending of a task that runs where it was called, in whose request `retry()` finds the header."""
        request = task.request
        header = header_of(request, HEADER)
        if not is_about(header, request.id):
            sending = self._port.prepare(request.id, job_class, options, args=args, kwargs=kwargs, function=task.run)
            header = sending.header
            request.headers = {**(request.headers or {}), HEADER: header}
        self._port.resume(request.id, job_class, header or {}).tell()

    # Ending, as reported by the process that ran the task

    @guard
    def success(self, sender: Task, result: object, **_: object) -> None:
        """End the run of a task that returned. The signal does not name the job; its request does."""
        delivery = self._port.inside(sender.request.id)
        if delivery is not None:
            delivery.finish(result, leaves=False)

    @guard
    def failure(self, sender: Task, task_id: str, exception: BaseException, **_: object) -> None:
        """End the run of a task that raised; or MAIN reports a hard time limit (twice), a killed child, a rejection."""
        delivery = self._port.inside(task_id)
        if delivery is not None:
            # The signal's exception may have been pickled and lost its cause: this is what the task raised.
            self._end_badly(delivery, sys.exception() or exception, sender.request)
            self._cancel_followers(sender.request)
        elif self._options_of(sender.name) is None and sender.request.id == task_id:  # jobs may wait for it
            self._cancel_followers(sender.request)
        else:
            self._failure_from_main(sender, task_id, exception)

    @guard
    def retry(self, sender: Task, request: Any, reason: Any = None, **_: object) -> None:
        """End a run that asked to run again; it has been sent already, and a cancelled job will refuse to start."""
        delivery = self._port.inside(request.id)
        if delivery is not None and time_limits.was_told_to_stop(reason.exc, request):
            self._end_badly(delivery, reason.exc, request)
            self._cancel_followers(request)
        elif delivery is not None:
            job = delivery.tell(Retrying, leaves=False, eta=due(reason.when))
            if job is not None and job.state is State.CANCELLED:  # it was asked to stop
                self._cancel_followers(request)
        elif self._options_of(self._class_of(sender, request)) is not None:
            self._retry_from_main(sender, request, reason)

    @guard
    def postrun(self, sender: Task, task_id: str, state: str | None, retval: object, **_: object) -> None:
        """End the run after all other signals, also without an outcome (state None), which MAIN will report."""
        delivery, request = self._port.inside(task_id), sender.request
        try:
            end = end_of(sender, state, retval, self.worker)
            if delivery is not None and end is not None:
                if end.kind is Finished and state == "SUCCESS":
                    delivery.finish(retval)
                else:
                    delivery.tell(end.kind, **end.fields)
            if end is not None and end.ends_chain and (delivery is not None or not self._is_job(sender)):
                self._cancel_followers(request)  # jobs may wait for it, tracked or not
        finally:
            if delivery is not None:
                delivery.leave()

    def _is_job(self, task: Task) -> bool:
        return self._options_of(self._class_of(task, task.request)) is not None

    @guard
    def internal_error(self, sender: Task, task_id: str, exception: BaseException, **_: object) -> None:
        """Report a failure that an eager task propagates: no other signal does, and this one comes after postrun."""
        if self._options_of(sender.name) is not None:
            event_type, fields = verdict(exception, task_id)
            self._port.ended(event_type, task_id, sender.name, **fields)

    def _end_badly(self, delivery: Delivery, exception: BaseException, request: Any) -> None:
        if time_limits.was_told_to_stop(exception, request):
            delivery.tell(Cancelled, leaves=False)
            return
        event_type, fields = verdict(exception, delivery.job_id, asked=delivery.run.asked)
        delivery.tell(event_type, leaves=False, **fields)

    def _cancel_followers(self, request: Any) -> None:
        """Cancel the jobs that were to follow the failed task of this request: they can no longer run."""
        chain, chord = getattr(request, "chain", None), getattr(request, "chord", None)
        namespace = namespace_in(header_of(request, HEADER), header_of(request, OWNER))
        self._cancel(chain, chord, namespace)

    def _cancel(self, chain: Any, chord: Any, namespace: str) -> None:
        for job_class, task_id, replaces in followers(chain, chord):
            if self._options_of(job_class) is not None:
                job_id = key_in(namespace, task_id)
                about: dict[str, Any] = {"job_id": job_id, "job_class": job_class, "queue": QUEUE}
                self._port.tracker.publish(Cancelled(**about, code="upstream", after_run=replaces), wait=0)

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
            about: dict[str, Any] = {"job_id": job_id, "job_class": job_class, "run_id": run_id, "queue": QUEUE}
            if is_requeued:
                self._port.tracker.publish(Requeued(**about), wait=0)
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
            self._port.tracker.publish_end(end, queue=queue, since=int(began * SECOND))
        else:
            self._port.tracker.publish(end, wait=0)

    def _retry_from_main(self, sender: Task, request: Any, reason: Any) -> None:
        """Report a resent task of a lost child (with a reason), or a worker's cold shutdown (without)."""
        job_class, run_id = self._class_of(sender, request), _run_id(request)
        if reason is not None:
            self._ended(Retrying, request, job_class, run_id=run_id, eta=due(getattr(reason, "when", None)))
        elif sender.acks_late:
            self._ended(Requeued, request, job_class, run_id=run_id)
        else:
            self._ended(Failed, request, job_class, run_id=run_id, code="worker_lost")
            self._cancel_followers(request)

    def _ended(self, kind: type[Event], request: Any, job_class: str, **fields: object) -> None:
        header, planned = header_of(request, HEADER), header_of(request, OWNER)
        self._port.ended(kind, request.id, job_class, header=header, planned=planned, **fields)

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
            if not terminated:
                code = "expired" if expired else "cancelled"
                self._ended(Cancelled, request, job_class, code=code, unstarted=True)
            elif pools.was_asked_to_end(signum):
                self._ended(Cancelled, request, job_class, run_id=_run_id(request))
            else:
                self._ended(Failed, request, job_class, run_id=_run_id(request), code="worker_lost")
        self._cancel_followers(request)

    @guard
    def unknown(self, name: str, id: str, message: Any, **_: object) -> None:  # noqa: A002 - Celery's name
        """Report a task that its sender tracks and that is not registered in this worker."""
        headers = message.headers or {}
        header = headers.get(HEADER)
        if header is not None:
            if not is_second(header):
                job_class = class_of(name, headers, self._options_of)
                self._port.ended(Failed, id, job_class, header=header, code="unknown_task", unstarted=True)
            embed = message.payload[2] or {}
            self._cancel(embed.get("chain"), embed.get("chord"), namespace_in(header))


def _run_id(request: Any) -> str:
    return getattr(request, RUN, None) or ""
