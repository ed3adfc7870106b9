"""What was told of jobs, by all processes of a project: each write that changed a job is a line of a file."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


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

    def of(self, job_id: str | None) -> list[dict[str, Any]]:
        """Return what was told of a job, by version; of all of them, in the order of the writes, for None."""
        if job_id is None:
            return list(self.lines())
        return sorted((line for line in self.lines() if line["job_id"] == job_id), key=lambda line: line["version"])

    def states(self, job_id: str) -> list[str]:
        """Return the states of a job, each followed by another one."""
        return _changes(self.of(job_id))

    def by_job(self) -> dict[str, list[str]]:
        """Return the states of every job."""
        lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in self.lines():
            lines[line["job_id"]].append(line)
        return {job_id: _changes(sorted(of, key=lambda line: line["version"])) for job_id, of in lines.items()}

    def wait(self, job_id: str | None, holds: Callable[[dict[str, Any]], object], *, within: float) -> dict[str, Any]:
        """Return the first line of a job, or of any, for which `holds` is true, at most `within` seconds from now."""
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


def _changes(lines: Iterable[dict[str, Any]]) -> list[str]:
    states: list[str] = []
    for line in lines:
        if states[-1:] != [line["state"]]:
            states.append(line["state"])
    return states
