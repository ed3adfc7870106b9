"""A page without a browser: it comes back after every end of its socket, and keeps the client's one rule."""

from __future__ import annotations

import threading
import time
from typing import Self

from websockets.exceptions import WebSocketException

from immortus_channels.testing import History
from tests.watcher import SocketWatcher

FINAL = {"finished", "failed", "cancelled"}


class Follower:
    """Follows jobs in a thread of its own until each has ended; what it shows goes into the history."""

    def __init__(self, url: str, history: History, name: str, *job_ids: str, rest: float = 0.05) -> None:
        self.held: dict[str, int] = dict.fromkeys(job_ids, 0)
        self.settled: set[str] = set()
        self.sockets = 0
        """How many it has opened."""
        self._url, self._history, self._name, self._rest = url, history, name, rest
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(10)

    def _follow(self) -> None:
        while not self._is_done():
            try:
                with SocketWatcher(self._url, open_timeout=5) as socket:
                    self.sockets += 1
                    for job_id in self.held.keys() - self.settled:
                        socket.watch(job_id, self.held[job_id])
                    self._read(socket)
            except (WebSocketException, OSError, EOFError):
                time.sleep(self._rest)

    def _is_done(self) -> bool:
        return self._stopped.is_set() or self.settled == self.held.keys()

    def _read(self, socket: SocketWatcher) -> None:
        while not self._is_done():
            try:
                frame = socket.receive(0.2)
            except TimeoutError:
                continue
            if frame["type"] == "job":
                self._take(frame["job"])

    def _take(self, document: dict[str, object]) -> None:
        """The one rule."""
        job_id, version = str(document["job_id"]), document["version"]
        assert isinstance(version, int)
        if job_id in self.settled or version <= self.held[job_id]:
            return
        self.held[job_id] = version
        self._history.shown(self._name, document)
        if document["state"] in FINAL:
            self.settled.add(job_id)
            self._history.settled(self._name, job_id)
