"""A Python client of the WebSocket protocol: what a browser's page would see."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect


class SocketWatcher:
    """Watches jobs over one socket and keeps every document, in the order of its arrival."""

    def __init__(self, url: str, *job_ids: str, **options: Any) -> None:
        self._connecting = connect(url, subprotocols=["immortus.v1"], proxy=None, **options)  # type: ignore[list-item]
        self._socket = self._connecting.__enter__()
        self.documents: dict[str, list[dict[str, Any]]] = {}
        self.errors: list[dict[str, Any]] = []
        for job_id in job_ids:
            self.watch(job_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connecting.__exit__(kind, error, traceback)

    def watch(self, job_id: str, version: int = 0) -> None:
        """Ask for a job."""
        self._socket.send(json.dumps({"type": "watch", "job_id": job_id, "version": version}))

    def receive(self, timeout: float) -> dict[str, Any]:
        """The next frame; pings are answered and left out."""
        end = time.monotonic() + timeout
        while True:
            frame: dict[str, Any] = json.loads(self._socket.recv(timeout=max(end - time.monotonic(), 0.01)))
            match frame["type"]:
                case "ping":
                    self._socket.send('{"type": "pong"}')
                    continue
                case "job":
                    self.documents.setdefault(frame["job"]["job_id"], []).append(frame["job"])
                case "error":
                    self.errors.append(frame)
            return frame

    def until_over(self, *job_ids: str, within: float = 15) -> None:
        """Read until each of these jobs is over."""
        end = time.monotonic() + within
        while not all(self.is_over(job_id) for job_id in job_ids):
            if time.monotonic() > end:
                states = {job_id: self.states(job_id) for job_id in job_ids if not self.is_over(job_id)}
                msg = f"not over within {within} s: {states}"
                raise TimeoutError(msg)
            try:
                self.receive(min(1.0, max(end - time.monotonic(), 0.01)))
            except TimeoutError:
                continue

    def is_over(self, job_id: str) -> bool:
        """Whether the newest document of the job says that it has ended."""
        documents = self.documents.get(job_id)
        return bool(documents) and documents[-1]["state"] in {"finished", "failed", "cancelled", "lost"}

    def states(self, job_id: str) -> list[str]:
        """The states seen, repetitions left out."""
        seen = [document["state"] for document in self.documents.get(job_id, [])]
        return [state for state, before in zip(seen, [None, *seen], strict=False) if state != before]
