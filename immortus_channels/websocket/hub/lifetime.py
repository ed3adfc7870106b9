"""How long a hub lives: while anything is watched, and a while longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from immortus_channels.websocket.hub.watched import WatchTable


class Lifetime:
    """The tasks of one hub, which end when nothing has been watched for `IDLE` seconds."""

    IDLE = 30.0

    def __init__(self, loop: asyncio.AbstractEventLoop, table: WatchTable, release: Callable[[], None]) -> None:
        """`release` is called at the end, to give up what is not a task."""
        self.tasks: set[asyncio.Task[None]] = set()
        self._loop = loop
        self._table = table
        self._release = release
        self._timer: asyncio.TimerHandle | None = None

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Run a part of the hub's work until it is done or the hub stops."""
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def renew(self) -> None:
        """Count the idle seconds from now on, or not at all while anything is watched."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if self._table.jobs else self._loop.call_later(self.IDLE, self.stop)

    def stop(self) -> None:
        """End everything at once; the next watch starts a new hub."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self.tasks:
            task.cancel()
        self._release()

    async def stop_and_wait(self) -> None:
        """Stop, and wait until everything has ended, for two seconds at most."""
        tasks = tuple(self.tasks)
        self.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=2)
