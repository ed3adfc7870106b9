"""The watches of one socket: some by its own user, others by the users of access tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from immortus_channels import metrics, protocol
from immortus_channels.access.tokens import TokenExpired
from immortus_channels.keys import key_of
from immortus_channels.websocket import frames
from immortus_channels.websocket.bearer import Bearer, Bearers
from immortus_channels.websocket.frames import Watch
from immortus_channels.websocket.hub import Hub, get_hub
from immortus_channels.websocket.hub.watched import Watcher, is_authenticated


class Watches:
    """The watches of one socket; each is a task until the hub has answered it. Called on the event loop."""

    def __init__(
        self, socket: Watcher, notify: Callable[[str], None], report: Callable[[asyncio.Task[None]], None]
    ) -> None:
        """`socket` watches for its own user in its namespace, `notify` sends a frame about all of it.

        `report` is called with each watch's task when it has ended.
        """
        self._socket = socket
        self._report = report
        self._hub: Hub | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[str, Watcher] = {}
        self._bearers = Bearers(lambda token: Bearer(token, socket, notify, self.dismiss))

    def begin(self, command: Watch) -> None:
        """Watch a job, or answer why not."""
        job_id, socket = self._key_of(command.job_id), self._socket
        if job_id not in self._tasks and len(self._tasks) >= protocol.MAX_JOBS:
            socket.tell(job_id, frames.too_many_jobs(job_id, authenticated=is_authenticated(socket)))
            return
        try:
            watcher = socket if command.token is None else self._bearers.find(command.token, job_id)
        except TokenExpired:
            self._refuse(job_id, frames.token_expired(job_id))
            return
        if watcher is None:
            self._refuse(job_id, frames.unknown_job(job_id, authenticated=False))
            socket.denied(job_id)
            return
        self._begin(watcher, job_id, command.version)

    def _key_of(self, job_id: str) -> str:
        return key_of(self._socket.namespace, job_id)

    def _begin(self, watcher: Watcher, job_id: str, version: int) -> None:
        if job_id in self._tasks:
            self._tasks[job_id].cancel()
        elif version:
            metrics.WATCHES_RESUMED.add()
        if self._watchers.get(job_id, watcher) is not watcher:
            self._drop(job_id)
        self._hub = get_hub()
        task = asyncio.create_task(self._hub.watch(watcher, job_id, version))
        task.add_done_callback(self._report)
        self._tasks[job_id], self._watchers[job_id] = task, watcher
        self._bearers.keep(self._watchers.values())

    def _refuse(self, job_id: str, frame: str) -> None:
        """Answer with this frame, and end any earlier watch of the job: an invalid token ends it too."""
        self._end(job_id)
        self._socket.tell(job_id, frame)

    def end(self, job_id: str) -> None:
        """End the watch of the job that the client knows by this id, if there is one."""
        self._end(self._key_of(job_id))

    def _end(self, job_id: str) -> None:
        self._drop(job_id)
        self._bearers.keep(self._watchers.values())

    def _drop(self, job_id: str) -> None:
        task, watcher = self._tasks.pop(job_id, None), self._watchers.pop(job_id, None)
        if task is None or watcher is None or self._hub is None:
            return
        task.cancel()
        self._hub.unwatch(watcher, job_id)
        self._socket.withdraw(job_id)

    def ended(self, job_id: str) -> None:
        """Forget a watch that the hub has ended."""
        self._tasks.pop(job_id, None)
        self._watchers.pop(job_id, None)
        self._bearers.keep(self._watchers.values())

    def dismiss(self, bearer: Bearer, is_expired: bool) -> None:  # noqa: FBT001 - called by a timer
        """End what is watched by a token that has expired, or whose user is no longer valid."""
        for job_id in [job_id for job_id, watcher in self._watchers.items() if watcher is bearer]:
            frame = frames.token_expired(job_id) if is_expired else frames.unknown_job(job_id, authenticated=False)
            self._refuse(job_id, frame)

    def close(self) -> Iterable[asyncio.Task[None]]:
        """End all watches and drop the references to the socket; return the tasks that may still run."""
        tasks = tuple(self._tasks.values())
        for job_id in tuple(self._tasks):
            self._end(job_id)
        self._bearers.close()
        del self._socket, self._report
        return tasks
