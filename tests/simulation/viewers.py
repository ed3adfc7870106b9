"""Who looks at jobs in the simulation: the client's one rule, and a socket with the real consumer behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from immortus_channels.websocket.consumer import JobConsumer

FINAL = {"finished", "failed", "cancelled"}


@dataclass(frozen=True)
class Person:
    """A user without a database."""

    name: str
    is_authenticated: bool = True
    is_active: bool = True

    @property
    def pk(self) -> str:
        """What owners are named by."""
        return self.name


@dataclass
class Shown:
    """What a viewer's page shows of one job."""

    text: str = ""
    version: int = 0
    settled: int = 0
    """How often its promise was settled."""
    is_missing: bool = False
    """Whether the last word of the server was that there is no such job."""


@dataclass(eq=False)
class Viewer:
    """A page that follows jobs by the client's one rule: a document counts when its version is higher."""

    user: Person
    judge: Callable[[Viewer, Socket, str], None]
    """Told of every frame as the server sends it."""
    shown: dict[str, Shown] = field(default_factory=dict)
    socket: Socket | None = None

    def hear(self, text: str) -> None:
        """Take a frame; one about a job that is followed no more is ignored."""
        frame = json.loads(text)
        match frame:
            case {"type": "ping"} if self.socket is not None:
                self.socket.say(type="pong")
            case {"type": "job", "job": {"job_id": job_id}} if job_id in self.shown:
                self.take(job_id, document_of(text))
            case {"type": "current", "job_id": job_id} if job_id in self.shown:
                self.shown[job_id].is_missing = False
            case {"type": "error", "code": "unknown_job", "job_id": job_id} if job_id in self.shown:
                self.shown[job_id].is_missing = True
                if self.socket is not None:
                    self.socket.missing.add(job_id)

    def take(self, job_id: str, text: str) -> None:
        """The one rule."""
        shown, document = self.shown[job_id], json.loads(text)
        shown.is_missing = False
        if shown.settled or document["version"] <= shown.version:
            return
        shown.text, shown.version = text, document["version"]
        if document["state"] in FINAL:
            shown.settled += 1

    def follow(self, job_id: str) -> None:
        """Show a job; a page that had settled is loaded anew."""
        if job_id not in self.shown or self.shown[job_id].settled:
            self.shown[job_id] = Shown()
        self.watch(job_id)

    def watch(self, job_id: str, version: int | None = None) -> None:
        """Ask the socket for the job."""
        if self.socket is not None:
            self.socket.watch(job_id, self.shown[job_id].version if version is None else version)

    def leave(self, job_id: str) -> None:
        """Follow the job no more."""
        self.shown.pop(job_id, None)
        if self.socket is not None:
            self.socket.unwatch(job_id)

    def ask_again(self) -> None:
        """Once a second, for what the socket was not told of."""
        if self.socket is None:
            return
        missing, self.socket.missing = self.socket.missing, set()
        for job_id in sorted(missing & self.shown.keys()):
            if not self.shown[job_id].settled:
                self.watch(job_id)


def document_of(frame: str) -> str:
    """The document in a frame, byte for byte."""
    return frame[frame.index('"job":') + len('"job":') : -1]


class Socket:
    """A viewer's socket: what a server is to the consumer. The network may be cut, and the viewer may stop reading."""

    def __init__(self, loop: asyncio.AbstractEventLoop, viewer: Viewer) -> None:
        self.viewer = viewer
        self.sent: dict[str, int] = {}
        """The newest version pushed of each job since it was watched last."""
        self.ended: set[str] = set()
        """Jobs of which a final document was sent: nothing may follow."""
        self.expected: set[str] = set()
        """Jobs whose watch waits for its answer."""
        self.missing: set[str] = set()
        """Jobs that it said are unknown, to be asked for again."""
        self.is_open = True
        self.was_slow = False
        """Whether something may wait because the viewer did not read."""
        self._reads = asyncio.Event()
        self._reads.set()
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket", "path": "/ws/immortus/", "headers": [], "user": viewer.user,
            "subprotocols": ["immortus.v1"],
        }  # fmt: skip
        self.consumer = JobConsumer()
        self.task = loop.create_task(self.consumer(scope, self._inbox.get, self._send))

    # The viewer's end

    def say(self, **frame: Any) -> None:
        """Send a frame."""
        self._inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})

    def watch(self, job_id: str, version: int) -> None:
        """Ask for a job: whatever was told of it before, it may be told anew."""
        self.sent.pop(job_id, None)
        self.ended.discard(job_id)
        self.expected.add(job_id)
        self.say(type="watch", job_id=job_id, version=version)

    def unwatch(self, job_id: str) -> None:
        """Ask for it no more."""
        self.expected.discard(job_id)
        self.say(type="unwatch", job_id=job_id)

    def stop_reading(self) -> None:
        """Let the server's next send wait."""
        self.was_slow = True
        self._reads.clear()

    def read_again(self) -> None:
        """Take what waits, and all that comes."""
        self._reads.set()

    @property
    def is_reading(self) -> bool:
        """Whether the viewer reads."""
        return self._reads.is_set()

    def cut(self) -> None:
        """End the connection without a word."""
        self.is_open = False
        self._reads.set()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    # The server's end

    async def _send(self, message: dict[str, Any]) -> None:
        if not self.is_open:
            raise OSError
        if message["type"] == "websocket.close":
            self.cut()
        if message["type"] != "websocket.send":
            return
        text = message["text"]
        self.viewer.judge(self.viewer, self, text)
        await self._reads.wait()
        if self.is_open:
            self.viewer.hear(text)
