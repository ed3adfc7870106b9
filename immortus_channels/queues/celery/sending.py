"""Celery's signals in the process that sends a task: a web server, or a worker whose task starts others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from celery import current_app

from immortus_channels import queues
from immortus_channels.events import Enqueued, Planned
from immortus_channels.lifecycle import SECOND
from immortus_channels.marking import Tracking
from immortus_channels.progress import current_run
from immortus_channels.queues.base import Tracker
from immortus_channels.queues.celery.canvas import followers
from immortus_channels.queues.celery.origins import HEADER, from_header, origin_here, to_header

_WAITING = 86_400.0
"""Seconds a job may wait, once it is due, until it is believed lost."""


class Sending:
    """Tells of tasks that are sent."""

    def __init__(self, tracker: Tracker, tracking: Callable[[str], Tracking | None]) -> None:
        self._tracker = tracker
        self._tracking = tracking
        self._planned: tuple[str | None, set[str]] = (None, set())

    def before(self, sender: str, body: Any, headers: dict[str, Any], **_: object) -> None:
        """Record the job before a worker can start it, and those that wait for this task, be it tracked or not.

        A retry is no new sending. A task that is unknown here (`send_task` by name) may be tracked where it runs:
        its message says whose it is, and the worker makes the record.
        """
        job_id = headers.get("id")
        if job_id is None or headers.get("retries"):
            return
        queues.remember(job_id, sender)
        tracking = self._tracking(sender)
        args, kwargs, *embed = body
        if HEADER not in headers and (tracking is not None or sender not in current_app.tasks):
            headers[HEADER] = to_header(origin_here(tracking, sender, args, kwargs, headers.get("eta")))
        header = headers.get(HEADER)
        self._plan(embed[0] if embed else {}, header, self._planned_by(headers.get("group")))
        if tracking is not None and header is not None:
            self._note_replacement(job_id)
            self._tracker.publish(Enqueued(job_id=job_id, job_class=sender, origin=from_header(header)))

    def after(self, sender: str, headers: Mapping[str, Any], **_: object) -> None:
        """The broker has the message: nobody need fear any more that it was never sent."""
        if self._tracking(sender) is None or headers.get("retries") or HEADER not in headers:
            return
        origin = from_header(headers[HEADER])
        delay = max((origin.eta or 0) / SECOND - datetime.now(UTC).timestamp(), 0)
        self._tracker.renew(headers["id"], origin.send_id, delay + _WAITING)

    def _planned_by(self, group: str | None) -> set[str]:
        """What the group that is being sent has planned so far: each of its thousand tasks names the chord's body."""
        latest, planned = self._planned
        if group is None or group != latest:
            planned = set()
            self._planned = group, planned
        return planned

    def _plan(self, embed: Mapping[str, Any], header: Mapping[str, Any] | None, planned_before: set[str]) -> None:
        """Every tracked member of a chain or chord is a job from now on."""
        for name, job_id in followers(embed.get("chain"), embed.get("chord")):
            queues.remember(job_id, name)
            self._note_replacement(job_id)
            tracking = self._tracking(name)
            if tracking is not None and job_id not in planned_before:
                planned_before.add(job_id)
                # Whose they are is only looked up for jobs: an untracked task costs no query.
                header = header or to_header(origin_here(None, name, (), {}))
                planned = replace(
                    from_header(header),
                    send_id="",
                    handler="",
                    cancel=tracking.cancel,
                    params=None,
                    data=None,
                )
                self._tracker.publish(Planned(job_id=job_id, job_class=name, origin=planned), wait=0)

    def _note_replacement(self, job_id: str) -> None:
        """`task.replace()` sends another task under the id of the one that runs, which then ends as ignored."""
        run = current_run.get()
        if run is not None and run.job_id == job_id:
            run.replaced = True
