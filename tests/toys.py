"""Small stand-ins at the ports: a store that fails on demand, and a queue that only knows its tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Self

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.queues.base import Queue
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores.memory import MemoryStore


class FlakyStore(MemoryStore):
    """Jobs in memory; the next `failures` calls fail, each takes `pause` seconds and waits until it is `open`."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.pause = 0.0
        self.calls: list[str] = []
        self.refused: set[str] = set()
        """Jobs whose record cannot be written, as while another session has locked it."""
        self.unfit: set[str] = set()
        """Jobs that make the store raise what it does not know."""
        self.open = threading.Event()
        self.open.set()

    def _try(self, call: str) -> None:
        self.calls.append(call)
        self.open.wait(10)
        time.sleep(self.pause)
        if self.failures > 0:
            self.failures -= 1
            msg = "down"
            raise StoreUnavailable(msg)

    def _refuse(self, job_ids: set[str]) -> None:
        if job_ids & self.refused:
            msg = "locked"
            raise StoreUnavailable(msg)
        if job_ids & self.unfit:
            msg = "unfit"
            raise TypeError(msg)

    def get_many(self, job_ids: Any) -> Any:
        self._try("get_many")
        return super().get_many(job_ids)

    def update(self, job_id: str, change: Any, *, known: Any = None) -> Any:
        self._try("update")
        self._refuse({job_id})
        return super().update(job_id, change, known=known)

    def renew(self, holders: Any, seconds: float) -> None:
        self._try("renew")
        self._refuse(set(holders))
        super().renew(holders, seconds)


class ToyQueue(Queue):
    """Knows tasks by name; what was cancelled is written down."""

    name = "toy"

    def __init__(self, name: str = "toy", **tasks: TaskOptions) -> None:
        super().__init__()
        self.name = name
        self.tasks = tasks
        self.cancelled: list[tuple[str, bool]] = []

    def connect(self, port: Any) -> None:
        """Has nothing to connect."""

    def options_of(self, job_class: str) -> TaskOptions | None:
        return self.tasks.get(job_class)

    def tracked_names(self) -> set[str]:
        return set(self.tasks)

    def name_of(self, task: object) -> str | None:
        return task if isinstance(task, str) and task in self.tasks else getattr(task, "toy_name", None)

    def job_of(self, result: object) -> tuple[str, str] | None:
        return None

    def cancel(self, job: Any, *, terminate: bool) -> None:
        self.cancelled.append((job.job_id, terminate))


def eventually(holds: Any, seconds: float = 5.0) -> bool:
    """Whether `holds()` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Ticks:
    """A task beside others on an event loop: `number` says how often it had a turn, up to once a millisecond."""

    def __init__(self) -> None:
        self.number = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self.number += 1
