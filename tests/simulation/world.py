"""A small world to simulate in: real hub, real consumers, real store and lifecycle, on virtual time.

What happens is up to the test; what must never happen is judged as it happens and collected in `mistakes`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import RequestFactory, override_settings

from immortus_channels import tracking
from immortus_channels.access.limits import Limits
from immortus_channels.http import views
from immortus_channels.jobs.events import (
    Cancelled,
    CancelRequested,
    Enqueued,
    Event,
    Failed,
    Finished,
    Origin,
    Report,
    Reported,
    Requeued,
    Retrying,
    Started,
)
from immortus_channels.jobs.job import Job
from immortus_channels.push import receivers
from immortus_channels.push.layer import shared_layer
from immortus_channels.stores import compare_and_set, get_store, memory
from immortus_channels.tracking import commands
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.hub.authorization import Authorization
from immortus_channels.websocket.hub.hub import _hubs
from immortus_channels.websocket.hub.reads import AuthorizedReads
from immortus_channels.websocket.hub.recheck import Recheck
from tests.simulation.stand_ins import HeldLayer, RememberingStore
from tests.simulation.viewers import FINAL, Person, Socket, Viewer, document_of
from tests.simulation.virtual import Turns, VirtualLoop

JOBS = ("a", "b")
RECHECK = 1.0
RIGHTS = 5.0
"""Seconds between two re-checks, and between two times that everybody's rights are looked at."""
MISSING = 3.0
"""Seconds until a job without a record is unknown."""
EPOCH = 1_800_000_000.0


@dataclass
class Task:
    """A job's task as its queue and its workers tell of it."""

    job_id: str
    sendings: int = 0
    runs: int = 0
    current: int = 0

    def event(self, kind: type[Event], run: int | None = None, **fields: Any) -> Event:
        """A fact about the job; about a run of it, the newest unless told otherwise."""
        run = self.runs if run is None else run
        origin = Origin(send_id=f"{self.job_id}-sending-{self.sendings}", owner="alice")
        is_of_run = kind in (Started, Reported, Retrying, Requeued, Finished, Failed)
        run_id = f"{self.job_id}-run-{run}" if is_of_run else ""
        return kind(job_id=self.job_id, job_class="shop.paint", origin=origin, run_id=run_id, **fields)

    def next(self, what: str) -> Event:
        """The event of an action's name."""
        match what:
            case "enqueue":
                self.sendings += 1
                return self.event(Enqueued)
            case "start":
                self.runs, self.current = self.runs + 1, 0
                return self.event(Started)
            case "straggle":
                return self.event(Reported, run=max(self.runs - 1, 0), report=Report(step=1, current=99, total=100))
            case "report":
                self.current += 1
                report = Report(step=1, current=self.current, total=100, message=f"{self.job_id} № {self.current}")
                return self.event(Reported, report=report)
            case _:
                return self.event(ENDS[what])


ENDS: dict[str, type[Event]] = {
    "retry": Retrying, "requeue": Requeued, "finish": Finished, "fail": Failed,
    "cancel": Cancelled, "ask to cancel": CancelRequested,
}  # fmt: skip
ACTIONS = ("enqueue", "start", "report", "straggle", *ENDS)


class World:
    """Everything there is. Time passes only in `pass_time`."""

    def __init__(self) -> None:
        self.patches = pytest.MonkeyPatch()
        self.settings = override_settings(
            IMMORTUS_STORE={"BACKEND": "tests.simulation.stand_ins.RememberingStore"},
            CHANNEL_LAYERS={"default": {"BACKEND": "tests.simulation.stand_ins.HeldLayer"}},
            IMMORTUS_RECHECK_INTERVAL=RECHECK,
            IMMORTUS_STALLED_AFTER=5.0,
            IMMORTUS_LOST_AFTER=10.0,
            IMMORTUS_ACCESS=self._may_see,
            IMMORTUS_LIMITS=dict.fromkeys(("requests_per_second", "requests_at_once"), 10**9),  # by the true time
        )
        self.settings.enable()
        self.loop = VirtualLoop(Turns(self.patches))
        self.skew = 0.0
        """Seconds that the store's clock is ahead of this host's."""
        self.patches.setattr(time, "time_ns", lambda: int(self._now() * 1e9))
        self.patches.setattr(memory, "_now", lambda: int((self._now() + self.skew) * 1e6))
        self.patches.setattr(compare_and_set, "_since_boot", lambda: int(self._now() * 1e6))
        self.patches.setattr(Authorization, "INTERVAL", RIGHTS)
        self.patches.setattr(Recheck, "MISSING", MISSING)
        self.patches.setattr(AuthorizedReads, "LIFT_AGAIN", RECHECK)
        self.patches.setattr(commands, "LIFT_AGAIN", 0.0)  # by the true time
        self.errors = _Errors()
        self.logger = logging.getLogger("immortus_channels")
        self.logger.addHandler(self.errors)
        self.patches.setattr(self.logger, "propagate", False)  # pytest would keep every line of a long search
        self.mistakes: list[str] = []
        self.tasks = {job_id: Task(job_id) for job_id in JOBS}
        self.forbidden: dict[tuple[str, str], float] = {}
        """Who may not see what, and since when."""
        self._spared: set[tuple[Socket, str]] = set()
        """Watches that were allowed when the right was taken: they end when rights are looked at next."""
        self._seen: dict[tuple[str, int], str] = {}
        people = [Person("alice"), Person("bob")]
        self.viewers = [Viewer(user, self._judge) for user in (*people, people[0])]

    @property
    def store(self) -> RememberingStore:
        """The store."""
        store = get_store()
        assert isinstance(store, RememberingStore)
        return store

    @property
    def layer(self) -> HeldLayer:
        """The channel layer."""
        layer = shared_layer()
        assert isinstance(layer, HeldLayer)
        return layer

    def close(self) -> None:
        """End everything, and put back what was patched."""
        self.stop()
        self.loop.close()
        self.logger.removeHandler(self.errors)
        self.settings.disable()
        self.patches.undo()

    # What happens

    def pass_time(self, seconds: float = 0.001) -> None:
        """Let everything happen that happens in so many seconds; each second pages ask for what is missing."""
        while seconds > 0:
            self.loop.pass_time(min(seconds, 1.0))
            seconds -= 1.0
            for viewer in self.viewers if seconds > 0 else ():
                if viewer.socket is not None and not viewer.socket.is_open:
                    self.connect(viewer)  # unlike one who is cut off, who has no socket
                viewer.ask_again()
        for socket in self._sockets():
            socket.was_slow = socket.was_slow and not (socket.is_reading and not socket.consumer.outbox.unsent)

    def tell(self, job_id: str, what: str, *, fate: str = "arrives", elsewhere: bool = True) -> None:
        """Publish a change of a job, as another process does or as this one does."""
        with self._fate(fate), self._elsewhere() if elsewhere else self._here():
            tracking.publish(self.tasks[job_id].next(what))

    def tell_amid(self, job_id: str, what: str, *, fate: str = "arrives") -> None:
        """Publish a change of a job right after the next read of a socket has missed it."""
        self.store.amid = lambda: self.tell(job_id, what, fate=fate)

    def deliver_held(self, index: int, *, keep: bool = False) -> None:
        """One of the messages under way arrives, at last or for the first time."""
        held = self.layer.held
        if held:
            index %= len(held)
            self.layer.deliver(*(held[index] if keep else held.pop(index)))

    def connect(self, viewer: Viewer, versions: dict[str, int] | None = None) -> None:
        """Open a new socket and watch what the page follows, naming its versions or others."""
        self.cut(viewer)
        viewer.socket = Socket(self.loop, viewer)
        for job_id, shown in viewer.shown.items():
            if not shown.settled:
                viewer.watch(job_id, (versions or {}).get(job_id))

    def cut(self, viewer: Viewer) -> None:
        """End a viewer's connection."""
        if viewer.socket is not None:
            viewer.socket.cut()
            viewer.socket = None

    def verify(self, viewer: Viewer, job_id: str) -> None:
        """Ask over HTTP, with the version that the page holds."""
        held = viewer.shown.get(job_id)
        headers = {"If-None-Match": f'"{held.version}"'} if held is not None else {}
        request = RequestFactory(headers=headers).get("/")
        request.user = viewer.user  # type: ignore[assignment]
        answer = views.verify(request, job_id=job_id)
        if answer.status_code != 404 and (viewer.user.name, job_id) in self.forbidden:
            self.mistakes.append(f"HTTP told {viewer.user.name} of {job_id}")
        if answer.status_code == 200:
            text = answer.content.decode()  # type: ignore[attr-defined]
            self._note(job_id, text)
            if held is not None:
                viewer.take(job_id, text)

    def forbid(self, name: str, job_id: str) -> None:
        """Take somebody's right to see a job."""
        if (name, job_id) in self.forbidden:
            return
        self.forbidden[name, job_id] = self._now()
        for socket in self._sockets():
            if socket.viewer.user.name == name and self._is_being_told(socket, job_id):
                self._spared.add((socket, job_id))

    def allow(self, name: str, job_id: str) -> None:
        """Give it back."""
        self.forbidden.pop((name, job_id), None)

    def restart(self) -> None:
        """The server's process ends, with its hub and all sockets, and another one starts; pages come back."""
        cut_off = [socket.viewer for socket in self._sockets()]
        self.stop()
        for viewer in cut_off:
            self.connect(viewer)
        self.pass_time()

    def stop(self) -> None:
        """The server's process ends."""
        for socket in self._sockets():
            socket.task.cancel()
            self.cut(socket.viewer)
        self.store.amid = None

        async def stop() -> None:
            await get_hub().lifetime.stop_and_wait()

        self.loop.run(stop())
        self.layer.forget_groups()

    def settle_down(self) -> None:
        """All faults end, but for a clock that is wrong; then as much time passes as healing may take."""
        self.store.amid = None
        self.layer.held.clear()
        for viewer in self.viewers:
            if viewer.socket is None or not viewer.socket.is_open:
                self.connect(viewer)
            viewer.socket.read_again()
        self.pass_time(1.15 * RECHECK + 0.5)
        if any(self.store.text(job_id) is None for job_id in JOBS):
            self.pass_time(MISSING + 1.15 * RECHECK)
        if self.forbidden:
            self.pass_time(1.15 * RIGHTS)

    # What must be

    def judge_now(self) -> list[str]:
        """What is wrong at this moment, or has been."""
        crowded = [
            socket.viewer.user.name
            for socket in self._sockets()
            if len(socket.consumer.outbox.unsent) > len(JOBS) or len(socket.consumer.outbox.notices) > 1
        ]
        return [*self.mistakes, *self.store.mistakes, *self.errors.texts, *(f"too much waits for {u}" for u in crowded)]

    def not_converged(self) -> Iterator[str]:
        """Whose page does not show what is on record."""
        for number, viewer in enumerate(self.viewers):
            for job_id, shown in viewer.shown.items():
                truth = None if (viewer.user.name, job_id) in self.forbidden else self.store.text(job_id)
                if shown.settled or (truth is None and (shown.is_missing)):
                    continue
                if truth != shown.text:
                    yield f"viewer {number} shows of {job_id}: {shown}, on record is {truth}"

    def _judge(self, viewer: Viewer, socket: Socket, text: str) -> None:
        frame = json.loads(text)
        job_id = frame.get("job_id") or frame.get("job", {}).get("job_id")
        if job_id is None:
            return
        is_answer = frame["type"] != "job" or frame["event"] == "snapshot"
        if frame["type"] in ("job", "current") and not self._is_allowed(socket, job_id):
            self.mistakes.append(f"{viewer.user.name} may not see {job_id}, but was told {text}")
        if frame["type"] == "job":
            self._judge_document(socket, job_id, document_of(text), is_answer=is_answer)
        if is_answer:
            socket.expected.discard(job_id)
        if frame["type"] == "error":
            self._spared.discard((socket, job_id))
            socket.sent.pop(job_id, None)

    def _judge_document(self, socket: Socket, job_id: str, text: str, *, is_answer: bool) -> None:
        self._note(job_id, text)
        document = json.loads(text)
        version, before = document["version"], socket.sent.get(job_id, 0)
        if version < before or (version == before and not is_answer):
            self.mistakes.append(f"{version} of {job_id} was sent after {before}")
        if job_id in socket.ended and job_id not in socket.expected:
            self.mistakes.append(f"after its end came {text}")
        socket.sent[job_id] = version
        if document["state"] in FINAL:
            socket.ended.add(job_id)

    def _note(self, job_id: str, text: str) -> None:
        if text not in self.store.texts:
            self.mistakes.append(f"never on record was {text}")
        version = json.loads(text)["version"]
        if self._seen.setdefault((job_id, version), text) != text:
            self.mistakes.append(f"two texts of one version: {text}, {self._seen[job_id, version]}")

    def _is_allowed(self, socket: Socket, job_id: str) -> bool:
        since = self.forbidden.get((socket.viewer.user.name, job_id))
        if since is None:
            return True
        # What waits for a reader who does not read may go until that reader is given up.
        grace = 1.15 * RIGHTS + 0.1 + (Limits().slow if socket.was_slow else 0)
        return (socket, job_id) in self._spared and self._now() < since + grace

    def _is_being_told(self, socket: Socket, job_id: str) -> bool:
        hub = _hubs.get(self.loop)  # not `get_hub`, for which the loop would have to run
        watched = hub.table.jobs.get(job_id) if hub is not None else None
        is_watching = watched is not None and watched.sent.get(socket.consumer) is not None
        return is_watching or job_id in socket.consumer.outbox.unsent

    def _sockets(self) -> list[Socket]:
        return [viewer.socket for viewer in self.viewers if viewer.socket is not None]

    # How it is arranged

    def _now(self) -> float:
        return EPOCH + self.loop.time()

    def _may_see(self, user: Any, job: Job) -> bool:
        return not job.staff_only and (user.name, job.job_id) not in self.forbidden

    @contextmanager
    def _fate(self, fate: str) -> Iterator[None]:
        before, self.layer.fate = self.layer.fate, fate
        yield
        self.layer.fate = before

    @contextmanager
    def _elsewhere(self) -> Iterator[None]:
        there, receivers._current = receivers._current, ()
        yield
        receivers._current = there

    @contextmanager
    def _here(self) -> Iterator[None]:
        yield


class _Errors(logging.Handler):
    """What was logged as an error: a traceback nobody wanted."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
