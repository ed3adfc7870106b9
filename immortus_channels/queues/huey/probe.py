"""The doctor's probe as a task of djhuey's; without it, the instances of Huey are the project's own."""

from __future__ import annotations

from huey.contrib.djhuey import task

from immortus_channels.queues.probing import be_probed
from immortus_channels.queues.tracked import tracked


@task(expires=60)  # type: ignore[untyped-decorator]
@tracked
def probe() -> None:
    """Be the probe."""
    be_probed()


def send(job_id: str, _: str | None) -> object:
    """Enqueue it under this id; an instance of Huey is one queue."""
    return probe(id=job_id)
