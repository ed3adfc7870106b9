"""The doctor's probe as Dramatiq's actor, of the project's broker."""

from __future__ import annotations

import dramatiq

from immortus_channels.queues.probing import be_probed
from immortus_channels.queues.tracked import tracked


@dramatiq.actor(actor_name="immortus_channels.probe", max_retries=0, max_age=60_000)
@tracked
def probe() -> None:
    """Be the probe."""
    be_probed()


def send(job_id: str, queue: str | None) -> object:
    """Send it under this id."""
    message = probe.message()
    return probe.broker.enqueue(message.copy(message_id=job_id, queue_name=queue or message.queue_name))
