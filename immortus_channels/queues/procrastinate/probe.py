"""The doctor's probe as a task of Procrastinate's Django app; another app is the project's own."""

from __future__ import annotations

from procrastinate.contrib.django import app

from immortus_channels.queues.probing import be_probed
from immortus_channels.queues.tracked import tracked


@app.task(name="immortus_channels.probe")
@tracked
def probe() -> None:
    """Be the probe."""
    be_probed()


def send(_: str, queue: str | None) -> object:
    """Defer it."""
    return (probe.configure(queue=queue) if queue else probe).defer()
