"""Polling: verify requests a second, beside celery-progress' view behind the same session and login."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from benchmarks.asking import Answers, ask
from benchmarks.processes import Child, Talk, call
from benchmarks.publishers import publish
from benchmarks.rows import OURS, Rounds, Row, Scale, at_least
from benchmarks.world import OURS as OUR_SYSTEM
from benchmarks.world import Web, World

AT_ONCE = 100
"""Jobs in one request, the most there may be."""
NAMES = [f"polled-{number}" for number in range(AT_ONCE)]
TURNS, SECONDS = 2, 0.75
"""Short turns in each round: the machine itself is slower at one time than at another."""
VERIFY = "/immortus/verify"


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family."""
    rounds = Rounds()
    call(world.environ("core"), _progress_by_celery, NAMES[0])
    with Child(world.publishing(OUR_SYSTEM), publish, "ours", NAMES, 1, 0) as running:
        running.wait()
        with world.web(OUR_SYSTEM) as web:
            for _ in range(scale.rounds * TURNS):
                _round(world, scale, rounds, web)
    yield rounds.row("verify requests/s, one process", "1/s", at_least(1.2, "celery-progress"))
    yield rounds.row("the same, unchanged (304)", "1/s", at_least(1, "ours, 200"))
    yield rounds.row("jobs/s by the many-job form", "1/s", at_least(20, "ours, one by one"))


def _round(world: World, scale: Scale, rounds: Rounds, web: Web) -> None:
    def asked(path: str, expected: int = 200, **headers: str) -> Answers:
        given: Mapping[str, str] = {"Cookie": world.cookie, **headers}
        answers: Answers = call({}, ask, web.port, path, scale.seconds(SECONDS), given)
        assert set(answers.statuses) == {expected}, answers
        return answers

    one = asked(f"{VERIFY}/{NAMES[0]}")
    theirs = asked(f"/celery-progress/{NAMES[0]}/")
    unchanged = asked(f"{VERIFY}/{NAMES[0]}", 304, **{"If-None-Match": one.headers["etag"]})
    many = asked(f"{VERIFY}?" + "&".join(f"job_id={name}" for name in NAMES))
    assert json.loads(one.body)["state"] == "running"
    assert json.loads(theirs.body)["state"] == "PROGRESS"
    assert all(job["state"] == "running" for job in json.loads(many.body)["jobs"])
    rounds.add("verify requests/s, one process", OURS, one.rate)
    rounds.add("verify requests/s, one process", "celery-progress", theirs.rate)
    rounds.add("the same, unchanged (304)", OURS, unchanged.rate)
    rounds.add("the same, unchanged (304)", "ours, 200", one.rate)
    rounds.add("jobs/s by the many-job form", OURS, many.rate * AT_ONCE)
    rounds.add("jobs/s by the many-job form", "ours, one by one", one.rate)


def _progress_by_celery(_: Talk, job: str) -> None:
    """A task of celery-progress on its way."""
    from benchmarks.publishers import CeleryProgress

    CeleryProgress().change(job, 1)
