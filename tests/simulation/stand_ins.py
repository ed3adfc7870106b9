"""What the simulation puts at the ports: a layer whose messages are held in the hand, and a store that remembers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from typing import Any

from channels.layers import BaseChannelLayer

from immortus_channels.jobs.job import Job, State
from immortus_channels.stores.base import Change, Positions, Reading
from immortus_channels.stores.memory import MemoryStore


class HeldLayer(BaseChannelLayer):  # type: ignore[misc]
    """A shared channel layer; `fate` decides what becomes of the next messages: arrives, held, lost or twice."""

    extensions = ("groups",)

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.fate = "arrives"
        self.held: list[tuple[str, dict[str, Any]]] = []
        self._groups: dict[str, set[str]] = {}
        self._arrived: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send to every member, as fate wills."""
        for channel in self._groups.get(group, ()):
            if self.fate == "held":
                self.held.append((channel, message))
            for _ in range({"arrives": 1, "twice": 2}.get(self.fate, 0)):
                self.deliver(channel, message)

    def deliver(self, channel: str, message: dict[str, Any]) -> None:
        """Let a message arrive; the receiver's loop does not run meanwhile."""
        self._arrived.setdefault(channel, asyncio.Queue()).put_nowait(message)

    def forget_groups(self) -> None:
        """Lose every membership, as a Redis does that restarts empty."""
        self._groups.clear()

    async def group_add(self, group: str, channel: str) -> None:
        """Join."""
        self._groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leave."""
        self._groups.get(group, set()).discard(channel)

    async def new_channel(self, prefix: str = "held.") -> str:
        """A name not used before."""
        return f"{prefix}!{len(self._arrived)}-{id(asyncio.get_running_loop())}"

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message that arrived."""
        return await self._arrived.setdefault(channel, asyncio.Queue()).get()


class RememberingStore(MemoryStore):
    """Jobs in memory, with everything that was ever on record, and what a change must not do."""

    def __init__(self) -> None:
        super().__init__()
        self.past: dict[str, list[str]] = {}
        """The records of each job, oldest first."""
        self.texts: set[str] = set()
        """Every document that was ever on record."""
        self.mistakes: list[str] = []
        self.amid: Callable[[], object] | None = None
        """Called once, after the next read for a socket has seen the jobs, before it is answered."""

    def get_many(self, job_ids: Collection[str]) -> Reading:
        """The jobs, as they stood before what happens amid the read."""
        reading = super().get_many(job_ids)
        self._happen_amid()
        return reading

    def positions(self, job_ids: Collection[str]) -> Positions:
        """Likewise; it reads the jobs."""
        return super().positions(job_ids)

    def _happen_amid(self) -> None:
        if self.amid is not None and threading.current_thread().name == "immortus-reader":
            happen, self.amid = self.amid, None
            happen()

    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply, judge and remember the change, as of callers who know the last record, or an older one."""
        past = self.past.get(job_id, [])
        stale = 2 if len(past) > 1 and len(past) % 3 == 0 else 1
        known = Job.from_record(past[-stale]) if past else known
        before, after = super().update(job_id, change, known=known)
        if after is not None and after is not before:
            self._judge(before, after)
            self.past.setdefault(job_id, []).append(after.to_record())
            self.texts.add(after.text)
        return before, after

    def _judge(self, before: Job | None, after: Job) -> None:
        if before is None:
            return
        if after.version <= before.version:
            self.mistakes.append(f"version {after.version} after {before.version}")
        is_final = before.is_over and before.state is not State.LOST
        if is_final and before.attempt == after.attempt and before.state is not after.state:
            self.mistakes.append(f"{after.state} after {before.state}, in one attempt")

    # What fails over

    def roll_back(self, job_id: str, changes: int) -> None:
        """Go back so many changes, or to before the job's first one."""
        past = self.past.get(job_id, [])
        if len(past) > changes:
            self._records[job_id] = past[-1 - changes]
            past.append(past[-1 - changes])
        else:
            self.forget(job_id)

    def forget(self, job_id: str) -> None:
        """Lose the record."""
        self._records.pop(job_id, None)

    def text(self, job_id: str) -> str | None:
        """The document on record, read behind everybody's back."""
        record = self._records.get(job_id)
        return None if record is None else Job.from_record(record).text
