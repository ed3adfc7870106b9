"""Who is there while something fails: jobs in other processes, and viewers whose every look is taken down."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from django.utils.module_loading import import_string
from websockets.exceptions import ConnectionClosed

from immortus_channels.jobs.job import Job
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.layer import group_name
from immortus_channels.push.messages import Push
from immortus_channels.testing import History
from tests.hubs import LAYERS
from tests.pages import Page, Process
from tests.watcher import SocketWatcher

HEALED = 6.0
"""Seconds within which every page is right again once a fault is over, at the default interval."""
QUICK = 0.5
"""The interval of the re-check in tests that would otherwise wait for seconds."""
SOON = 3.0
"""Seconds within which pages are right at the quick interval, on a busy machine."""


def layer_config(kind: str, url: str, **options: Any) -> dict[str, Any]:
    """CHANNEL_LAYERS' entry for a kind of layer on this Redis, as the documentation recommends it."""
    backend, host = LAYERS[kind]
    return {"BACKEND": backend, "CONFIG": {"hosts": [{"address": url, **host}], **options}}


def make_layer(config: dict[str, Any]) -> Any:
    """A layer that is nobody's default."""
    return import_string(config["BACKEND"])(**config["CONFIG"])


class Elsewhere:
    """Another process that pushes: a thread with a broadcaster of its own, which no local receiver hears."""

    def __init__(self, name: str = "elsewhere") -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._broadcaster = Broadcaster()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.submit(self._broadcaster.close).result(10)
        self._thread.shutdown()

    def push(self, job: Job) -> float:
        """Push, and wait for it; the seconds it took."""
        return self._thread.submit(self._push, job).result(30)

    async def apush(self, job: Job) -> float:
        """`push` that lets the event loop go on."""
        return await asyncio.wrap_future(self._thread.submit(self._push, job))

    def _push(self, job: Job) -> float:
        began = time.monotonic()
        if self._broadcaster._breaker.allows(began):
            self._broadcaster.send_to_group(group_name(job.job_id), Push.of(job).to_message())
        return time.monotonic() - began


class Told(Process):
    """A job of another process; what is written of it goes into the history."""

    def __init__(self, history: History, job_id: str = "") -> None:
        super().__init__(job_id)
        self._history = history

    def tell(self, *args: Any, push: bool = False, **fields: Any) -> Job:
        job = super().tell(*args, push=push, **fields)
        self._history.wrote(json.loads(job.text))
        return job

    def begun(self) -> Job:
        """It runs."""
        self.enqueued()
        return self.started()


class Viewer(Page):
    """A page whose every document goes into the history."""

    def __init__(self, history: History, name: str = "ann") -> None:
        super().__init__()
        self._history, self._name = history, name

    def tell(self, job_id: str, frame: str) -> None:
        super().tell(job_id, frame)
        told = json.loads(frame)
        if told["type"] == "job":
            self._history.shown(self._name, told["job"])

    def ended(self, job_id: str) -> None:
        super().ended(job_id)
        self._history.settled(self._name, job_id)

    def shows(self, job: Job) -> bool:
        """Whether the last document is this one, byte for byte."""
        jobs = [frame["job"] for frame in self.told if frame["type"] == "job" and frame["job"]["job_id"] == job.job_id]
        return bool(jobs) and jobs[-1] == json.loads(job.text)


class SocketViewer:
    """A viewer at a real socket, who reads in a thread of its own and whose every look is taken down."""

    def __init__(self, url: str, history: History, name: str, *job_ids: str) -> None:
        self._history, self._name = history, name
        self._watcher = SocketWatcher(url, *job_ids)
        self.frames: list[dict[str, Any]] = []
        self.closed: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watcher.__exit__(None, None, None)
        self._thread.join(5)

    def _read(self) -> None:
        while True:
            try:
                frame = self._watcher.receive(60)
            except (ConnectionClosed, TimeoutError) as error:
                self.closed = error
                return
            self.frames.append(frame)
            if frame["type"] == "job":
                self._history.shown(self._name, frame["job"])

    def watch(self, job_id: str) -> None:
        """Watch one more job."""
        self._watcher.watch(job_id)

    def complain_to(self) -> None:
        """Send something that is answered with an error at once, whatever else happens."""
        self._watcher._socket.send("nonsense")

    def heard(self, kind: str) -> int:
        """How many frames of this type have come."""
        return sum(frame["type"] == kind for frame in self.frames)

    def shows(self, job: Job) -> bool:
        """Whether the last document is this one, byte for byte."""
        jobs = [frame["job"] for frame in self.frames if frame["type"] == "job"]
        return bool(jobs) and jobs[-1] == json.loads(job.text)
