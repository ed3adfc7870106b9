"""The doctor's probe as a function of Django-Q2's."""

from __future__ import annotations

from django_q.tasks import async_task

from immortus_channels.queues.probing import be_probed
from immortus_channels.queues.tracked import tracked


@tracked
def probe() -> None:
    """Be the probe."""
    be_probed()


def send(_: str, queue: str | None) -> object:
    """Enqueue it; a cluster is a queue."""
    return async_task(probe, q_options={"ack_failure": True, **({"cluster": queue} if queue else {})})
