"""The doctor's probe as Celery's task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import shared_task

from immortus_channels.loading import Later
from immortus_channels.queues.celery.adapter import PROBE
from immortus_channels.queues.tracked import tracked

if TYPE_CHECKING:
    from immortus_channels.stores.sqlite import witness
else:
    witness = Later("immortus_channels.stores.sqlite.witness")


@shared_task(name=PROBE, expires=60, bind=True)  # type: ignore[untyped-decorator]
@tracked
def probe(self: Any) -> None:
    """Do nothing: the doctor checks that it ran, and that its sender can see it."""
    witness.testify(self.request.id)


def send(job_id: str, queue: str | None) -> object:
    """Send it under this id."""
    return probe.apply_async(task_id=job_id, queue=queue, retry=False)
