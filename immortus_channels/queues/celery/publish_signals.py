"""Celery's signals in the process that sends a task: a web server, or a worker whose task starts others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from celery import current_app
from celery._state import get_current_task

from immortus_channels.jobs.events import Origin, Planned
from immortus_channels.keys import name_in
from immortus_channels.queues import classes
from immortus_channels.queues.celery import beat, canvas, lives, unsent, written
from immortus_channels.queues.celery.canvas import REPLACED, REPLACES
from immortus_channels.queues.celery.headers import key_for
from immortus_channels.queues.celery.marks import HEADER, OWNER, QUEUE, STANDS_FOR
from immortus_channels.queues.hooks import guard
from immortus_channels.queues.messages import (
    continuing_header,
    from_header,
    key_in,
    namespace_in,
    owner_header,
    with_owner,
)
from immortus_channels.queues.moments import due
from immortus_channels.queues.origins import origin_here
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer import WAIT
from immortus_channels.writer.run import current_run


class Sending:
    """Reports tasks that are sent."""

    def __init__(self, port: Port, options_of: Callable[[str], TaskOptions | None]) -> None:
        self._port = port
        self._options_of = options_of
        self._planned: tuple[str | None, set[str]] = (None, set())

    @guard
    def before(self, sender: str, body: Any, headers: dict[str, Any], **_: object) -> None:
        """Record the job before a worker can start it, and the jobs that wait for this task, tracked or not.

        A retry does not count as a new sending. A task that is unknown here (`send_task` by name) may be tracked where
        it runs: its message names the owner, and the worker makes the record.
        """
        sent_id = headers.get("id")
        if sent_id is None:
            return
        if headers.get("retries") and lives.is_resent(headers, is_job=self._may_be_job(sender)):
            lives.keep_headers(headers)
            written.note_retry(headers)
            return
        if HEADER in headers:
            lives.forget_others(headers)
        namespace = namespace_in(headers.get(HEADER), headers.get(OWNER))
        job_id = key_in(namespace, sent_id)
        _note_replacement(job_id)
        headers.update(self._continuation(sender, job_id))
        job_class = canvas.class_of(sender, headers, self._options_of)
        classes.remember(job_id, job_class)
        options = self._options_of(job_class)
        args, kwargs, *embed = body
        if HEADER not in headers and (options is not None or self._may_be_job(sender)):
            own = options if job_class == sender else None  # a replacement has arguments of its own
            headers[HEADER] = self._first_header(sender, own, args, kwargs, headers)
        planned = self._plan(embed[0] if embed else {}, headers, namespace)
        is_job = options is not None and HEADER in headers
        for event in planned:  # they are written in order: to wait for the last one is to wait for all
            waits = event is planned[-1] and not is_job
            self._port.tracker.publish(event, wait=WAIT if waits else 0)
        if is_job:
            sending = self._port.resume(sent_id, job_class, headers[HEADER])
            sending.tell()
            unsent.note(sending)
            headers[HEADER] = sending.header
            if sending.header is None:  # the id is that of another queue's job
                del headers[HEADER]

    def _first_header(
        self, name: str, options: TaskOptions | None, args: Any, kwargs: Any, headers: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the header of the first message of a job."""
        task, eta = current_app.tasks.get(name), headers.get("eta")
        sending = self._port.prepare(
            headers["id"],
            name,
            options,
            args=args,
            kwargs=kwargs,
            function=task and task.run,
            eta=due(datetime.fromisoformat(eta)) if eta else None,
            planned=headers.get(OWNER),
            is_scheduled=beat.is_sending.get(),
        )
        return lives.with_retries(sending.header or {}, headers.get("retries"))

    def _may_be_job(self, name: str) -> bool:
        """Return whether the task is tracked here, or unknown here and so possibly tracked where it runs."""
        return self._options_of(name) is not None or name not in current_app.tasks

    @guard
    def after(self, sender: str, headers: Mapping[str, Any], **_: object) -> None:
        """Extend the lease once the broker has the message: it no longer counts as possibly never sent."""
        job_class = canvas.class_of(sender, headers, self._options_of)
        if self._options_of(job_class) is None or HEADER not in headers or lives.is_resent(headers, is_job=True):
            return
        unsent.note()
        self._port.resume(headers["id"], job_class, headers[HEADER]).confirm()

    def _planned_by(self, group: str | None) -> set[str]:
        """Return what the group now being sent has planned so far: each of its many tasks names the chord's body."""
        latest, planned = self._planned
        if group is None or group != latest:
            planned = set()
            self._planned = group, planned
        return planned

    def _plan(self, embed: dict[str, Any], headers: Mapping[str, Any], namespace: str) -> list[Planned]:
        """Plan a job for each tracked member of a chain or chord, and give callbacks headers with their owner."""
        rest = {part: embed[part] for part in ("chain", "chord", "callbacks", "errbacks") if embed.get(part)}
        if not any(self._is_job(task, namespace) for task in canvas.tasks(list(rest.values()))):
            for name, task_id, _ in canvas.followers(embed.get("chain"), embed.get("chord")):
                classes.remember(key_in(namespace, task_id), name)
            return []
        # The owner is looked up for jobs only: an untracked task costs no query.
        header = headers.get(HEADER)
        origin = from_header(header) if header else with_owner(origin_here(QUEUE, None), headers.get(OWNER))
        headers_of = partial(self._headers_for, origin)
        embed.update({part: canvas.with_headers(signature, headers_of) for part, signature in rest.items()})
        planned_before = self._planned_by(headers.get("group"))
        events = []
        for name, task_id, _ in canvas.followers(embed.get("chain"), embed.get("chord")):
            job_id = key_in(namespace, task_id)
            classes.remember(job_id, name)
            _note_replacement(job_id)
            options = self._options_of(name)
            if options is not None and job_id not in planned_before:
                planned_before.add(job_id)
                planned = replace(origin, send_id="", handler="", cancel=options.cancel, params=None, data=None)
                events.append(Planned(job_id=job_id, job_class=name, queue=QUEUE, origin=planned))
        return events

    def _is_job(self, task: canvas.Task, namespace: str) -> bool:
        job_id = key_in(namespace, task.job_id)
        return self._options_of(task.job_class) is not None or bool(self._continuation(task.job_class, job_id))

    def _headers_for(self, origin: Origin, name: str, task_id: str) -> Mapping[str, Any]:
        """Return the headers that one of the tasks to come is sent with."""
        return {OWNER: owner_header(origin), **self._continuation(name, key_in(origin.namespace, task_id))}

    def _continuation(self, name: str, job_id: str) -> Mapping[str, Any]:
        """Return the headers of a task that continues the job that runs here, even if it is not tracked itself."""
        run = current_run.get()
        if run is None or run.job_id != job_id:
            return {}
        headers: dict[str, Any] = {REPLACES: run.run_id}
        if run.origin is not None:
            headers[HEADER] = continuing_header(run.origin, name_in(job_id))
        return headers if self._options_of(name) is not None else {**headers, STANDS_FOR: run.job_class}


def _note_replacement(job_id: str) -> None:
    """Note that the running task sends another one under its own id, as `task.replace()` does."""
    task = get_current_task()
    if task is not None and key_for(task.request, task.request.id) == job_id:
        setattr(task.request, REPLACED, True)
