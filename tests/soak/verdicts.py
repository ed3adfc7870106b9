"""How the last document of a job stands to what its runs have done: those leave their own traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRONG = "wrong: "
"""How the verdict on a job begins about which something wrong was told."""
FAILED = ("failed", "failure")
"""What queues call a job that has failed."""
LONGEST = 10.0
"""Seconds: a run that began longer ago, and has not ended, goes on no more."""
UNTOLD = 1.0
"""Seconds between the end of a body and the kill of its worker, in which neither the queue nor we may have heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A run of a body: when it began, and when it ended, if it did."""

    began: float
    ended: float | None = None


def traces(folder: Path) -> dict[str, list[Trace]]:
    """Return the runs by the ids of their jobs, in order; "None" holds those that nobody followed."""
    found: dict[str, list[Trace]] = {}
    for path in folder.glob("traces-*"):
        for line in path.read_text().splitlines():
            what, at, job_id = line.split()
            runs = found.setdefault(job_id, [])
            if what == "began":
                runs.append(Trace(began=float(at)))
            else:  # which of two runs at once has ended is all one
                number = max(n for n, run in enumerate(runs) if run.ended is None)
                runs[number] = Trace(began=runs[number].began, ended=float(at))
    return found


def verdict(
    lines: Sequence[Mapping[str, Any]], runs: Sequence[Trace], kills: Iterable[float], now: float, says: str = ""
) -> str:
    """Say what became of a job by all that was told of it, in order; the first word is "wrong:" if that was wrong.

    `says` is the word of the queue's own record: it may know of a worker that was killed before the run began.
    """
    document = lines[-1]
    state, code = document["state"], (document.get("error") or {}).get("code")
    if state == "finished":
        return "finished" if any(run.ended for run in runs) else f"{WRONG}finished, but its body has not ended"
    ended = runs[-1].ended if runs else None
    if ended is not None and not any(ended < kill < ended + UNTOLD for kill in kills):
        return f"{WRONG}{state}, but its body has ended"
    if len(runs) > document["attempt"]:
        return f"{WRONG}it ran {len(runs)} times, in {document['attempt']} attempts"
    if any(run.ended is None and run.began > now - LONGEST for run in runs):
        return "at work" if state == "running" else f"{WRONG}{state}, while it runs"
    has_run = bool(runs) or any(line["state"] == "running" for line in lines)
    return _of_one_that_stopped(state, code, has_run=has_run, is_failed=says.lower() in FAILED)


def _of_one_that_stopped(state: str, code: str | None, *, has_run: bool, is_failed: bool) -> str:
    match state, code:
        case "lost", _ if has_run:
            return "lost"
        case "failed", "worker_lost" if has_run or is_failed:
            return "worker_lost"
        case "failed", "not_sent" if not has_run:
            return "not sent"
        case "enqueued", _ if not has_run:
            return "waits"
    return f"{WRONG}{state} ({code}), which {'has' if has_run else 'has not'} run"


def goes_back(lines: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a job that had finished was told to be anything else, but in its next attempt; lines are in order."""
    finished = 0
    for line in lines:
        if line["state"] == "finished":
            finished = line["attempt"]
        elif line["attempt"] <= finished:
            return True
    return False
