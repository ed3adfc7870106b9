"""Ends that arrive through the channel layer: the hub delivers them once the store confirms them.

A client that can write to the layer can write anything there. The next re-check corrects every other false document,
but an end also ends the watch, so no re-check would follow.
"""

from __future__ import annotations

import asyncio

from immortus_channels import tracking
from immortus_channels.logs import Trouble
from immortus_channels.push.messages import Push
from immortus_channels.websocket.hub.threads import Readers
from immortus_channels.websocket.hub.watched import WatchTable


class Ends:
    """Reads the jobs that have ended according to the layer; those named during one read share the next."""

    PAUSE = 1.0
    """Seconds between a read that failed and the next."""
    BATCH = 1000

    def __init__(self, table: WatchTable, readers: Readers) -> None:
        self._table = table
        self._readers = readers
        self._unconfirmed: dict[str, None] = {}
        self._bell = asyncio.Event()
        self._trouble = Trouble("Confirming that jobs are over", "Their pages show it as soon as the store answers.")

    def confirm(self, push: Push) -> None:
        """Read the job soon and deliver what the store has, unless the push is older than the newest document here."""
        watched = self._table.jobs.get(push.job_id)
        if watched is not None and push.version > watched.version:
            self._unconfirmed[push.job_id] = None
            self._bell.set()

    async def run(self) -> None:
        """Confirm until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._unconfirmed:
                try:
                    await self._read([*self._unconfirmed][: self.BATCH])
                except Exception as error:  # noqa: BLE001 - a store may raise anything, and confirming continues
                    self._trouble.begin(error)
                    await asyncio.sleep(self.PAUSE)
                else:
                    self._trouble.end()

    async def _read(self, job_ids: list[str]) -> None:
        watched = [job_id for job_id in job_ids if job_id in self._table.jobs]
        for job_id in job_ids:
            del self._unconfirmed[job_id]  # what arrives from now on is another end
        try:
            jobs = (await self._readers.run(tracking.on_record, watched)).jobs if watched else {}
        except Exception:
            self._unconfirmed |= dict.fromkeys(watched)
            raise
        for job in jobs.values():
            self._table.deliver(Push.of(job))
