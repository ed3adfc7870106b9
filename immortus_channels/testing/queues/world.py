"""A folder with the suite's project for one queue, and its processes: the sender, and workers by their own command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from immortus_channels.testing.queues.driver import Driver
from immortus_channels.testing.queues.told import Told

PROJECT = "immortus_channels.testing.queues.project"
ENDS = ("finished", "failed", "cancelled", "lost")


class Worker:
    """A worker in a session of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env=env, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def is_running(self) -> bool:
        """Whether its main process has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill all its processes at once, as a machine does that loses power; those in groups of their own too.

        Return once their connections are closed: until then a broker may give a message to a reader that is dead.
        """
        processes = _session_of(self._process.pid)
        for process_id in processes:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self._process.wait(10)
        until = time.monotonic() + 10
        while any(map(_is_ending, processes)) and time.monotonic() < until:
            time.sleep(0.01)

    def kill_main(self) -> None:
        """Kill its main process alone."""
        self._process.kill()
        self._process.wait(10)

    def kill_children(self) -> None:
        """Kill all its processes but the main one."""
        for child in _below(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to its main process."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait until its main process has ended, so long at most."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def stop(self) -> None:
        """End it, whatever it does."""
        self.ask_to_stop()
        self.wait(5)
        self.kill()


def _below(pid: int) -> Iterator[int]:
    """Yield the processes that this one has started, and theirs, as Linux lists them."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from _below(int(child))
            yield int(child)


def _is_ending(process_id: int) -> bool:
    """Return whether a killed process is not done with that: it, or a thread of it, may have connections still.

    Its files leave the list of the open ones before Linux closes them; once it waits to be reaped they are closed.
    """
    process = Path(f"/proc/{process_id}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" or len(list((process / "task").iterdir())) > 1
    except OSError:
        return False


def _session_of(leader: int) -> list[int]:
    """Return the processes of a session, its leader first."""
    found = []
    for process_id in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process_id) == leader:
                found.append(process_id)
    return sorted(found, key=lambda process_id: process_id != leader)


class World:
    """The project at work: what the cases send, and what is told of it."""

    def __init__(self, driver: Driver, path: str, folder: Path, python: str = sys.executable) -> None:
        """Take the driver's dotted `path`, by which the project's processes find it."""
        self.driver, self.folder = driver, folder
        self.told = Told(folder / "told")
        self._python = python
        self._env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings",
            "IMMORTUS_SUITE_DRIVER": path,
            "IMMORTUS_SUITE_FOLDER": str(folder),
            "PYTHONUNBUFFERED": "1",
        }
        self._workers: list[Worker] = []
        self._kept: Worker | None = None
        self._sender: subprocess.Popen[str] | None = None

    @classmethod
    @contextmanager
    def running(cls, driver: Driver, path: str, folder: Path) -> Iterator[Self]:
        """Yield a world with its services, its tables and its sender; workers are the cases' to start."""
        with ExitStack() as stack:
            world = cls(driver, path, folder)
            world._env |= stack.enter_context(driver.services())
            stack.callback(world._end)
            world._run("-m", "django", "migrate", "--verbosity=0")
            world._run("-c", "import django; django.setup(); from django.conf import settings; settings.DRIVER.setup()")
            yield world

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [self._python, *arguments], env=self._env, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def _end(self) -> None:
        for worker in self._workers:
            worker.kill()
        if self._sender is not None:
            with self._sender:
                self._sender.kill()

    # Faults and traces

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Break something in all processes meanwhile: "slow" or "down" (`project.store`), "broken" (`project.apps`)."""
        flag = self.folder / name
        flag.touch()
        try:
            yield
        finally:
            flag.unlink()

    def traces(self, name: str) -> list[str]:
        """Return what the runs of `leaves_traces` have said under this name, in order."""
        path = self.folder / f"traces-{name}"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def leaves_trace(self, name: str, what: str) -> None:
        """Wait until a run has said this."""
        until = time.monotonic() + self.driver.patience
        while what not in self.traces(name):
            if time.monotonic() > until:
                msg = f"{name} left {self.traces(name)} within {self.driver.patience} s"
                raise TimeoutError(msg)
            time.sleep(0.05)

    def gives_leave(self, name: str, number: int) -> None:
        """Let the first or the second run of `waits_for_leave` under this name end."""
        (self.folder / f"leave-{name}-{number}").touch()

    # Workers

    def start_worker(self) -> Worker:
        """Start a worker by its own command."""
        command = [self._python, "-m", *self.driver.command()]
        self._workers.append(Worker(command, self._env, self.folder / f"worker-{len(self._workers)}.log"))
        return self._workers[-1]

    def keep_working(self) -> None:
        """Start a worker that goes on after the case, unless there is one."""
        if self._kept is None:
            self._kept = self.start_worker()

    def stop_working(self) -> None:
        """Stop that worker."""
        if self._kept is not None:
            self._kept.stop()
        self._kept = None

    @contextmanager
    def working(self) -> Iterator[Worker]:
        """Run a worker meanwhile."""
        worker = self.start_worker()
        try:
            yield worker
        finally:
            worker.stop()

    # The sender

    def ask(self, call: str, *args: Any, **options: Any) -> Any:
        """Have the sender do what its method of this name does; raise what it raised as RuntimeError."""
        if self._sender is None:
            command = [self._python, "-m", "immortus_channels.testing.queues.sender"]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            with (self.folder / "sender.log").open("ab") as log:
                env = {**self._env, "IMMORTUS_SUITE_SENDER": "1"}
                self._sender = subprocess.Popen(command, env=env, cwd=self.folder, stderr=log, **pipes)
            self._read(self._sender)
        request = json.dumps({"call": call, "args": args, "options": options})
        stdin: Any = self._sender.stdin
        stdin.write(request + "\n")
        stdin.flush()
        answer = self._read(self._sender)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    def _read(self, sender: subprocess.Popen[str]) -> Any:
        stdout: Any = sender.stdout
        line = stdout.readline()
        if not line:
            raise RuntimeError((self.folder / "sender.log").read_text()[-4000:])
        return json.loads(line)

    def send(self, task: str, *args: Any, **options: Any) -> str:
        """Send a task, as the user "7" unless `owner` says otherwise; return its job's id."""
        return str(self.ask("send", task, *args, **{"owner": "7", **options}))

    def over(self, job_id: str, within: float | None = None) -> dict[str, Any]:
        """Wait until a job is over; return its document and what else was told then."""
        return self.told.wait(job_id, lambda line: line["state"] in ENDS, within=within or self.driver.patience)

    def all_over(self, ids: Collection[str], within: float) -> dict[str, list[str]]:
        """Wait until all these jobs are over; return the states of every job. A told end may be followed by another."""
        until = time.monotonic() + within
        while True:
            told = self.told.by_job()
            waiting = [job_id for job_id in ids if told.get(job_id, [""])[-1] not in ENDS]
            if not waiting:
                return told
            if time.monotonic() > until:
                msg = f"{len(waiting)} of {len(ids)} jobs are not over after {within} s: {waiting[0]} and others"
                raise TimeoutError(msg)
            time.sleep(0.2)

    def until(self, job_id: str, state: str, attempt: int | None = None) -> dict[str, Any]:
        """Wait until a job is in a state, and in an attempt if one is given."""
        return self.told.wait(
            job_id,
            lambda line: line["state"] == state and attempt in (None, line["attempt"]),
            within=self.driver.patience,
        )

    def until_told(self, job_id: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until something of a job has been told."""
        return self.told.wait(job_id, holds, within=self.driver.patience)

    def settled(self, job_id: str, or_in_attempt: int | None = None) -> dict[str, Any]:
        """Ask for a job as a page does until it is over, which also judges its silence; return its document."""
        until = time.monotonic() + 65
        while True:
            document: dict[str, Any] = self.ask("look", job_id)
            if document["state"] in ENDS or document["attempt"] == or_in_attempt:
                return document
            if time.monotonic() > until:
                msg = f"{job_id} is {document['state']} after 65 s"
                raise TimeoutError(msg)
            time.sleep(0.2)
