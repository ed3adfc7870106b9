"""Ends that the channel layer tells: believed once the store says so too.

Whoever can write to the layer can write anything. What else it tells is put right by the next re-check; but with an end
the watch ends, and so does the page's interest in the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from immortus_channels import tracking
from immortus_channels.logs import Trouble
from immortus_channels.push.messages import Push
from immortus_channels.websocket.hub.threads import Readers
from immortus_channels.websocket.hub.watched import Watched


class Watching(Protocol):
    """What confirming ends needs of the hub."""

    @property
    def jobs(self) -> Mapping[str, Watched]:
        """The watched jobs by id."""
        ...

    def take(self, push: Push) -> None:
        """Hand a document to all who watch the job, if it is the newest."""
        ...


class Ends:
    """Reads the jobs that the layer calls over, as many together as were told of while the last read went on."""

    PAUSE = 1.0
    """Seconds to leave a store alone that could not answer."""
    BATCH = 1000

    def __init__(self, hub: Watching, readers: Readers) -> None:
        self._hub = hub
        self._readers = readers
        self._told: dict[str, None] = {}
        self._bell = asyncio.Event()
        self._trouble = Trouble(
            "Confirming that jobs are over", "Their pages are told so as soon as the store answers."
        )

    def confirm(self, push: Push) -> None:
        """Tell the job's newest document as the store has it, soon, where the push is news."""
        watched = self._hub.jobs.get(push.job_id)
        if watched is not None and push.version > watched.version:
            self._told[push.job_id] = None
            self._bell.set()

    async def run(self) -> None:
        """Confirm until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._told:
                try:
                    await self._read([*self._told][: self.BATCH])
                except Exception as error:  # noqa: BLE001 - whatever stores raise, confirming goes on
                    self._trouble.begin(error)
                    await asyncio.sleep(self.PAUSE)
                else:
                    self._trouble.end()

    async def _read(self, job_ids: list[str]) -> None:
        watched = [job_id for job_id in job_ids if job_id in self._hub.jobs]
        for job_id in job_ids:
            del self._told[job_id]  # what is told from now on is another end
        try:
            jobs = (await self._readers.run(tracking.on_record, watched)).jobs if watched else {}
        except Exception:
            self._told |= dict.fromkeys(watched)
            raise
        for job in jobs.values():
            self._hub.take(Push.of(job))
