"""The probe that goes through a task queue: which queues get one, and how it is sent."""

from __future__ import annotations

from immortus_channels import queues
from immortus_channels.queues import probing, results
from immortus_channels.queues.base import Queue


def in_use() -> list[Queue]:
    """Return the queues that have tracked tasks here, or run any function; all of them if none does."""
    used = [queue for queue in queues.connected if queue.runs_functions or _has_tasks(queue)]
    return used or queues.connected.copy()


def _has_tasks(queue: Queue) -> bool:
    return any(not name.startswith("immortus_channels.") for name in queue.tracked_names())


def send(queue: Queue, job_id: str, name: str | None) -> str | None:
    """Send the probe through a queue, under this id if that lets senders choose; return its job's id.

    `name` is which of its queues to send it to, None the one by default. Returns None if only the project knows how.
    """
    probe = probing.probe_of(type(queue).__module__.split(".")[-2])
    return None if probe is None else results.identify(probe.send(job_id, name), queue.name)[0]
