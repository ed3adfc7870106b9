"""What was told of jobs, by all processes of a project: each write that changed a job is a line of a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from immortus_channels.jobs.job import Job
from immortus_channels.stores.base import Change
from immortus_channels.stores.sqlite.store import SQLiteStore


class TellingStore(SQLiteStore):
    """Keeps jobs as a project on SQLite does, and appends what has changed to a file."""

    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply the change, and tell of it."""
        before, after = super().update(job_id, change, known=known)
        if after is not None and after is not before:
            told = {**after.document, "owner": after.owner, "staff_only": after.staff_only, "queue": after.queue}
            told |= {"params": dict(after.params), "process": os.getpid()}
            line = json.dumps(told).encode() + b"\n"
            with open(os.environ["IMMORTUS_SUITE_TOLD"], "ab", buffering=0) as file:  # noqa: PTH123 - one write
                file.write(line)
        return before, after


class Told:
    """The lines of that file."""

    def __init__(self, path: Path) -> None:
        """Begin with no lines."""
        self._path = path
        path.touch()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what was told of all jobs, in the order of the writes."""
        with self._path.open() as file:
            yield from (json.loads(line) for line in file if line.endswith("\n"))

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """Return what was told of a job, by version."""
        return sorted((line for line in self.lines() if line["job_id"] == job_id), key=lambda line: line["version"])

    def states(self, job_id: str) -> list[str]:
        """Return the states of a job, each followed by another one."""
        states: list[str] = []
        for line in self.of(job_id):
            if states[-1:] != [line["state"]]:
                states.append(line["state"])
        return states

    def wait(self, job_id: str, holds: Callable[[dict[str, Any]], object], *, within: float) -> dict[str, Any]:
        """Return the first line of a job for which `holds` is true, at the latest `within` seconds from now."""
        until = time.monotonic() + within
        while True:
            lines = self.of(job_id)
            found = next((line for line in lines if holds(line)), None)
            if found is not None:
                return found
            if time.monotonic() > until:
                states = [(line["state"], line["attempt"]) for line in lines]
                msg = f"{job_id} was told to be {states} within {within} s"
                raise TimeoutError(msg)
            time.sleep(0.05)
