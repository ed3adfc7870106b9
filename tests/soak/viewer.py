"""Viewers without a browser: one that keeps the rules of docs/protocol.md, one that does what websockets.js does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from immortus_channels.testing import History
from tests.soak.network import Network

OVER = {"finished", "failed", "cancelled", "lost"}
FELL = (WebSocketException, OSError, EOFError, TimeoutError)
POLL, PATIENCE, SILENCE = 2.0, 2.5, 30.0
"""Seconds between polls, until a job without a socket is polled, and without a frame until a socket is dead."""
LONGEST, BASE = 20.0, 0.5
"""Seconds of the longest and the first wait before a socket is opened again."""


@dataclass(slots=True)
class Told:
    """What a viewer was told of one job."""

    last: dict[str, Any] | None = None
    ended_at: float | None = None
    """By the wall's clock."""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def version(self) -> int:
        """Of the newest document, 0 without one."""
        return self.last["version"] if self.last else 0


class Viewer:
    """Looks at one job at a time."""

    PATIENCE = 180.0
    """Seconds until a job that does not end is left."""

    def __init__(self, name: str, network: Network, history: History) -> None:
        self.name = name
        self.told: dict[str, Told] = {}
        self.sockets = 0
        self._network, self._history = network, history

    async def live(self) -> None:
        """What it does beside looking at jobs."""

    async def follow(self, job_id: str) -> None:
        """Look at a job until it is over, or for as long as patience lasts."""
        raise NotImplementedError

    def _show(self, told: Told, document: dict[str, Any]) -> None:
        told.last = document
        self._history.shown(self.name, document)
        if document["state"] in OVER:
            self._history.settled(self.name, document["job_id"])
            told.ended_at = told.ended_at or time.time()
            told.over.set()


class Page(Viewer):
    """Keeps one socket for all its jobs, comes back to it, and polls without it."""

    def __init__(self, name: str, network: Network, history: History) -> None:
        super().__init__(name, network, history)
        self._socket: ClientConnection | None = None
        self._served: set[str] = set()
        """Jobs that the present socket has answered for."""
        self.polls = 0

    async def live(self) -> None:
        tries = 0
        while True:
            began, planned = time.monotonic(), None
            with contextlib.suppress(*FELL):
                async with self._network.socket("/ws/immortus/", subprotocols=["immortus.v1"]) as socket:
                    self.sockets += 1
                    self._socket = socket
                    for job_id in self._open_jobs():
                        await self._watch(job_id)
                    planned = await self._read(socket)
            self._socket = None
            self._served.clear()
            tries = 0 if time.monotonic() - began > 10 else tries + 1
            await asyncio.sleep(planned if planned is not None else random.uniform(0, min(LONGEST, BASE * 2**tries)))

    async def follow(self, job_id: str) -> None:
        told = self.told[job_id] = Told()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.PATIENCE), asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(self._ask(job_id, told))
                await self._watch(job_id)
                await told.over.wait()
                asking.cancel()

    def _open_jobs(self) -> list[str]:
        return [job_id for job_id, told in self.told.items() if not told.over.is_set()]

    async def _watch(self, job_id: str) -> None:
        if self._socket is not None:
            frame = {"type": "watch", "job_id": job_id, "version": self.told[job_id].version}
            with contextlib.suppress(*FELL):
                await self._socket.send(json.dumps(frame))

    async def _read(self, socket: ClientConnection) -> float | None:
        """Take what comes until the socket ends; the seconds to wait, when the server has said so."""
        while True:
            async with asyncio.timeout(SILENCE):
                frame = json.loads(await socket.recv())
            match frame:
                case {"type": "job", "job": document}:
                    self._served.add(document["job_id"])
                    self._take(document)
                case {"type": "current", "job_id": job_id}:
                    self._served.add(job_id)
                case {"type": "ping"}:
                    await socket.send('{"type":"pong"}')
                case {"type": "bye", "after_ms": after}:
                    return after / 1000
                case {"type": "error", "job_id": job_id}:
                    asyncio.get_running_loop().call_later(1, self._watch_again, job_id)

    def _watch_again(self, job_id: str) -> None:
        self._again = asyncio.create_task(self._watch(job_id))

    def _take(self, document: dict[str, Any]) -> None:
        """The client's one rule."""
        told = self.told.get(document["job_id"])
        if told is not None and not told.over.is_set() and document["version"] > told.version:
            self._show(told, document)

    async def _ask(self, job_id: str, told: Told) -> None:
        """Once beside the socket, and again and again while none serves the job."""
        await self._verify(job_id, told)
        await asyncio.sleep(PATIENCE)
        while True:
            if job_id not in self._served:
                self.polls += 1
                await self._verify(job_id, told)
            await asyncio.sleep(POLL * random.uniform(0.75, 1.25))

    async def _verify(self, job_id: str, told: Told) -> None:
        with contextlib.suppress(*FELL):
            async with asyncio.timeout(30):
                status, body = await self._network.get(f"/immortus/verify/{job_id}", told.version)
            if status == 200:
                self._take(json.loads(body))


class Script(Viewer):
    """Opens a socket for each job, asks once and takes what comes until it is complete: no more than websockets.js."""

    PATIENCE = 60.0

    async def follow(self, job_id: str) -> None:
        told = self.told[job_id] = Told()
        with contextlib.suppress(*FELL):
            async with asyncio.timeout(self.PATIENCE), self._network.socket(f"/ws/progress/{job_id}") as socket:
                self.sockets += 1
                await socket.send('{"type": "check_task_completion"}')
                while not told.over.is_set():
                    self._show(told, as_document(job_id, json.loads(await socket.recv())))


def as_document(job_id: str, data: dict[str, Any]) -> dict[str, Any]:
    """A message of celery-progress in the words of ours; its progress is all it has for a version."""
    state = "running"
    if data["complete"] and data["state"] != "RETRY":
        state = "finished" if data["success"] else "failed"
    return {"job_id": job_id, "state": state, "version": round(data["progress"]["percent"]) + (state != "running")}
