"""The process of the viewers: starts jobs, has viewers follow them, cuts their sockets, and judges what they were told.

Run by the tests as `python -m tests.soak.load`, with a `Plan` in the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter, deque
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import django

from immortus_channels.testing import History
from tests.soak.network import Network
from tests.soak.viewer import Page, Script, Told, Viewer


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the viewers do."""

    url: str
    report: str
    beside: bool = False
    seconds: float
    viewers: int = 500
    rate: float = 20.0
    """Jobs a second."""
    viewers_per_job: int = 2
    cut_every: float = 15.0
    cut_for: float = 2.0
    grace: float = 120.0
    """Seconds at most, after the last job was started, until what was told is judged."""


class Load:
    """All viewers, and the jobs they follow."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.history = History()
        self.network = Network(plan.url)
        self.started: list[str] = []
        self.not_started = self.unwatched = 0
        self._free: deque[Viewer] = deque()
        self._following: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, Any]:
        """Do all of it; the report."""
        self.viewers = [self._make(f"viewer {n}") for n in range(self.plan.viewers)]
        self._free.extend(self.viewers)
        living = [asyncio.create_task(viewer.live()) for viewer in self.viewers]
        cutting = asyncio.create_task(self._cut())
        await self._start_jobs()
        cutting.cancel()
        self.network.is_up = True
        if self._following:
            await asyncio.wait(self._following, timeout=self.plan.grace)
        for task in (*living, *self._following):
            task.cancel()
        await asyncio.gather(*living, *self._following, return_exceptions=True)
        return await asyncio.to_thread(self._judge)

    def _make(self, name: str) -> Viewer:
        return (Script if self.plan.beside else Page)(name, self.network, self.history)

    async def _cut(self) -> None:
        while True:
            await asyncio.sleep(self.plan.cut_every - self.plan.cut_for)
            self.network.is_up = False
            self.network.cut()
            await asyncio.sleep(self.plan.cut_for)
            self.network.is_up = True

    async def _start_jobs(self) -> None:
        """Let another process start jobs, and take their ids from it."""
        command = (sys.executable, "-m", "tests.soak.starter", str(self.plan.rate), str(self.plan.seconds))
        starter = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert starter.stdout is not None
        async for line in starter.stdout:
            job_id = line.decode().strip()
            if job_id == "-":
                self.not_started += 1
            else:
                self._have_followed(job_id)
        await starter.wait()

    def _have_followed(self, job_id: str) -> None:
        self.started.append(job_id)
        chosen = [self._free.popleft() for _ in range(min(self.plan.viewers_per_job, len(self._free)))]
        self.unwatched += not chosen
        for viewer in chosen:
            task = asyncio.create_task(viewer.follow(job_id))
            self._following.add(task)
            task.add_done_callback(self._following.discard)
            task.add_done_callback(lambda _, viewer=viewer: self._free.append(viewer))

    # Judging

    def _judge(self) -> dict[str, Any]:
        truths = self._beside_truths() if self.plan.beside else self._truths()
        looks = [(viewer, job_id, told) for viewer in self.viewers for job_id, told in viewer.told.items()]
        found = Counter(finding.rule for finding in self.history.findings())
        verdicts = Counter(verdict(told, truths[job_id]) for _, job_id, told in looks)
        pages = [viewer for viewer in self.viewers if isinstance(viewer, Page)]
        return {
            "jobs": len(self.started),
            "not_started": self.not_started,
            "unwatched": self.unwatched,
            "ends": Counter(truth["state"] for truth in truths.values()),
            "looks": len(looks),
            "verdicts": verdicts,
            "findings": found,
            "examples": [
                f"{viewer.name} {told.last and (told.last['state'], told.version)} {truths[job_id]}"
                for viewer, job_id, told in looks
                if verdict(told, truths[job_id]) not in ("right", "right so far")
            ][:20] + [str(finding) for finding in self.history.findings()[:20]],
            "seconds_until_told": delays(looks, truths),
            "sockets": sum(viewer.sockets for viewer in self.viewers),
            "cuts": self.network.cuts,
            "polls": sum(page.polls for page in pages),
        }  # fmt: skip

    def _truths(self) -> dict[str, dict[str, Any]]:
        from immortus_channels.stores import get_store  # noqa: PLC0415 - Django first

        truths: dict[str, dict[str, Any]] = {}
        for start in range(0, len(self.started), 500):
            found = get_store().get_many(self.started[start : start + 500]).jobs
            truths |= {job_id: json.loads(job.text) for job_id, job in found.items()}
        return {job_id: truths.get(job_id, {"state": "unknown"}) for job_id in self.started}

    def _beside_truths(self) -> dict[str, dict[str, Any]]:
        from tests.project.celery import app  # noqa: PLC0415 - Django first

        ends = {"SUCCESS": "finished", "FAILURE": "failed"}
        states = {job_id: app.AsyncResult(job_id).state for job_id in self.started}
        return {job_id: {"state": ends.get(state, state.lower())} for job_id, state in states.items()}


def verdict(told: Told, truth: dict[str, Any]) -> str:
    """How what a viewer was told in the end stands to what is on record."""
    is_over = truth["state"] in ("finished", "failed", "cancelled", "lost")
    if told.ended_at is None and not is_over:  # its message was lost with Redis, most likely
        return "right so far" if told.last == truth or "version" not in truth else "stale"
    if told.ended_at is None:
        return "never told"
    assert told.last is not None
    if told.last["state"] == "lost" and told.last != truth:
        return "lost, and revived"
    if told.last.get("attempt", 0) < truth.get("attempt", 0):  # the broker delivered it once more after its end
        return "right, and run again"
    is_right = told.last == truth if "version" in truth else told.last["state"] == truth["state"]
    return "right" if is_right else "wrong"


def delays(looks: list[tuple[Viewer, str, Told]], truths: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Seconds from the ends on record until they were told."""
    times = sorted(
        told.ended_at - datetime.fromisoformat(end).timestamp()
        for _, job_id, told in looks
        if told.ended_at is not None and (end := truths[job_id].get("finished_at"))
    )
    at = len(times) - 1
    return {"median": times[at // 2], "p99": times[round(at * 0.99)], "longest": times[at]} if times else None


def main() -> None:
    """Follow the plan."""
    django.setup()
    plan = Plan(**json.loads(os.environ["PLAN"]))
    told = {name: value for name, value in asdict(plan).items() if name not in ("url", "report")}
    report = {"plan": told, **asyncio.run(Load(plan).run())}
    Path(plan.report).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
