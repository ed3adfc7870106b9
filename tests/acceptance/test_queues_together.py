"""Seven task queues in one project, one web process and one page: none of them disturbs another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chromium import chromium
from tests.servers import PostgresServer, RedisServer, need_package
from tests.site import Site, eventually

pytestmark = [pytest.mark.redis, pytest.mark.postgresql, pytest.mark.browser, pytest.mark.slow]

WORKERS = {
    "celery": ("celery", "-A", "tests.together", "worker", "-c", "2", "--without-gossip", "--without-mingle"),
    "django.tasks": ("django", "db_worker", "--no-reload", "--interval", "0.1"),
    "rq": ("django", "rqworker", "default"),
    "huey": ("django", "run_huey", "--workers", "2"),
    "django-q2": ("django", "qcluster"),
    "dramatiq": ("django", "rundramatiq", "--processes", "1", "--threads", "2"),
    "procrastinate": ("django", "procrastinate", "worker"),
}
"""The commands of the workers, by the names of their queues."""
PACKAGES = ("celery", "django_tasks_db", "django_rq", "huey", "django_q", "django_dramatiq", "procrastinate")
ENDS = {"finished", "failed", "cancelled", "lost"}
PATIENCE = 60


class SevenQueues(Site):
    """The project of `tests.together`, run for real."""

    def __init__(self, var: Path, **options: str) -> None:
        super().__init__(var, DJANGO_SETTINGS_MODULE="tests.together.settings", **options)

    def start(self) -> None:
        """Start the web server, and a worker of each queue."""
        self.manage("migrate", "-v", "0")
        self.spawn("web", "daphne", "-p", str(self.port), "-b", "127.0.0.1", "tests.together.asgi:application")
        for queue, command in WORKERS.items():
            self.spawn(queue, *command)
        eventually(lambda: self.http.get("/immortus/health").status_code, within=PATIENCE)

    @contextmanager
    def visitor(self, name: str) -> Iterator[Visitor]:
        """A browser in which this user is logged in."""
        with httpx.Client(base_url=self.url, timeout=20) as client:
            assert client.get(f"/log-in/{name}").status_code == 200
            yield Visitor(client)


class Visitor:
    """A user, as the site knows them."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def start(self, queue: str, what: str) -> str:
        job_id: str = self.client.get(f"/start/{queue}/{what}").raise_for_status().json()["job_id"]
        return job_id

    def look(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get(f"/immortus/verify/{job_id}").json()
        return document

    def until(self, job_id: str, *states: str) -> dict[str, Any]:
        document: dict[str, Any] = eventually(
            lambda: (d := self.look(job_id)).get("state") in states and d, within=PATIENCE
        )
        return document

    def cancel(self, job_id: str) -> int:
        headers = {"X-CSRFToken": self.client.cookies["csrftoken"]}
        return self.client.post(f"/immortus/cancel/{job_id}", headers=headers).status_code


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SevenQueues]:
    for package in PACKAGES:
        need_package(package, "immortus-channels[test]")
    with RedisServer() as redis, PostgresServer() as postgres:
        options = {"TOGETHER_REDIS": redis.url, "TOGETHER_POSTGRES": json.dumps(postgres.database)}
        site = SevenQueues(tmp_path_factory.mktemp("together"), **options)
        try:
            site.start()
            yield site
        finally:
            site.close()


@pytest.fixture
def ann(site: SevenQueues) -> Iterator[Visitor]:
    with site.visitor("ann") as visitor:
        yield visitor


@pytest.fixture
def bob(site: SevenQueues) -> Iterator[Visitor]:
    with site.visitor("bob") as visitor:
        yield visitor


def test_nothing_is_wrong_with_such_a_project(site):
    site.manage("check", "--fail-level", "WARNING")


def test_all_bars_of_a_page_move_by_one_socket_to_their_ends(site, ann):
    with chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        sockets, errors = [], []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.goto(f"{site.url}/log-in/ann")
        page.goto(f"{site.url}/page?what=paints")
        page.wait_for_function("() => document.querySelectorAll('immortus-job').length === 7")
        moved = "[...document.querySelectorAll('progress')].filter((bar) => bar.value > 0 && bar.value < 100).length"
        seen = 0
        for _ in range(600):
            seen = max(seen, page.evaluate(moved))
            if page.evaluate("document.querySelectorAll('immortus-job[state=finished]').length") == len(WORKERS):
                break
            page.wait_for_timeout(100)
        texts = page.locator("li").all_inner_texts()
        assert all("100 %" in text and "Done" in text for text in texts), texts
        assert len(texts) == len(WORKERS)
        assert seen >= len(WORKERS) - 2, "most of them move at the same time"
        assert (len(sockets), errors) == (1, [])


@pytest.mark.parametrize("queue", WORKERS)
def test_failures_are_told_as_each_job_says(ann, queue):
    raises, fails = ann.start(queue, "raises"), ann.start(queue, "fails")
    assert ann.until(raises, *ENDS)["error"]["code"] == "error"
    assert ann.until(fails, *ENDS)["error"] == {"code": "no_paint", "message": "There is no paint left."}


@pytest.mark.parametrize("queue", WORKERS)
def test_a_job_is_its_starter_s_alone_and_stops_when_asked(ann, bob, queue):
    job_id = ann.start(queue, "paints on")
    ann.until(job_id, "running")
    assert bob.look(job_id)["error"]["code"] == "unknown_job"
    assert bob.cancel(job_id) == 404
    assert ann.cancel(job_id) == 202
    assert ann.until(job_id, *ENDS)["state"] == "cancelled"


@pytest.mark.parametrize(("queue", "other"), [*pairwise([*WORKERS, "celery"])])
def test_what_a_job_starts_in_another_queue_is_the_same_user_s(ann, bob, queue, other):
    job_id = ann.start(queue, f"starts {other}")
    started = ann.until(job_id, "finished")["started"]
    assert ann.until(started, *ENDS)["state"] == "finished"
    assert bob.look(started)["error"]["code"] == "unknown_job"


def test_another_queue_s_word_under_a_job_s_id_is_refused(site, ann, bob):
    job_id = ann.start("celery", "paints")
    ann.until(job_id, "running")
    assert bob.client.get(f"/start-as/{job_id}").status_code == 200
    assert ann.until(job_id, *ENDS)["state"] == "finished"
    assert ann.look(job_id)["attempt"] == 1
    assert bob.look(job_id)["error"]["code"] == "unknown_job"
    said = f"The id {job_id!r} is that of a job of celery, so a task of rq with the same id is not tracked"
    lines = [process.output.count(said) for process in site.processes]
    assert sorted(lines, reverse=True)[:3] == [1, 1, 0], "the web server says it, and RQ's worker"


def test_the_doctor_sends_a_probe_through_each_queue(site):
    lines = site.manage("immortus_doctor", "--timeout", "20").splitlines()
    found = {(part, verdict) for line in lines if not line.startswith(" ") for verdict, part in [line.split()[:2]]}
    assert {verdict for part, verdict in found if part in ("queue", "worker", "layer")} == {"ok"}, lines
    for queue in WORKERS:
        assert sum(f"{queue} took the probe" in line or f"{queue}'s ran the probe" in line for line in lines) == 2, (
            lines
        )
