"""The doctor's probe as RQ's job; without django-rq, the queues are the project's own objects."""

from __future__ import annotations

from django_rq import get_queue

from immortus_channels.queues.probing import be_probed
from immortus_channels.queues.tracked import tracked


@tracked
def probe() -> None:
    """Be the probe."""
    be_probed()


def send(job_id: str, queue: str | None) -> object:
    """Enqueue it under this id."""
    return get_queue(queue or "default").enqueue(probe, job_id=job_id, ttl=60, result_ttl=60)
