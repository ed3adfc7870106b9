"""The doctor's probe as a task of django.tasks, or of its backport."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from immortus_channels.queues.django_tasks.names import packages
from immortus_channels.queues.probing import be_probed
from immortus_channels.queues.tracked import tracked

_package: Any = import_module(next(iter(packages())))


@_package.task  # type: ignore[untyped-decorator]
@tracked
def probe() -> None:
    """Be the probe."""
    be_probed()


def send(_: str, queue: str | None) -> object:
    """Enqueue it."""
    return (probe.using(queue_name=queue) if queue else probe).enqueue()
