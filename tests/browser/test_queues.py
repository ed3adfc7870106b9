"""The photo story on every task queue: each of the page's choices ends as the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.browser.conftest import Demo, start_demo
from tests.browser.test_serve import all_gone, descendants
from tests.servers import need_package
from tests.site import eventually

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.slow

ENDED = {"finished", "failed", "cancelled", "lost"}
LOST_WITHIN = 100.0
"""Seconds: a lost job is told after a minute, and the jobs of Django-Q2 are delivered again earlier."""
PACKAGES = {
    "django-tasks": ("django_tasks_db", "immortus-channels[django-tasks]"),
    "huey": ("huey", "immortus-channels[huey]"),
    "django-q2": ("django_q", "immortus-channels[django-q2]"),
    "rq": ("django_rq", "immortus-channels[rq]"),
    "dramatiq": ("dramatiq", "immortus-channels[dramatiq]"),
    "procrastinate": ("procrastinate", "immortus-channels[procrastinate]"),
}
BY_ITSELF = ("django-tasks", "huey", "django-q2")
ON_REDIS = ("rq", "dramatiq")


class Visitor:
    """Somebody who uses the page by HTTP."""

    def __init__(self, demo: Demo) -> None:
        self._http = httpx.Client(base_url=demo.url, timeout=20, follow_redirects=True)
        self.page = self._http.get("/").text
        if "counts its jobs" in self.page:
            self._sign_in()
        self._http.headers["X-CSRFToken"] = self._http.cookies["csrftoken"]

    def _sign_in(self) -> None:
        token = self._http.cookies["csrftoken"]
        form = {"username": "alice", "password": "immortus", "csrfmiddlewaretoken": token, "next": "/"}
        self.page = self._http.post("/login/", data=form).text

    def close(self) -> None:
        self._http.close()

    @property
    def endings(self) -> dict[str, str]:
        """How the page says that each of its choices ends."""
        choice = r'data-scene="([\w-]+)".*?class="ending" data-state="(\w+)"'
        return dict(re.findall(choice, self.page, re.DOTALL))

    def post(self, path: str) -> httpx.Response:
        return self._http.post(path, data={"sample": "coffee"})

    def start(self, path: str) -> str:
        answer = self.post(path)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self._http.get(f"/immortus/verify/{job_id}").json()
        return document

    def cancel(self, job_id: str) -> None:
        assert self._http.post(f"/immortus/cancel/{job_id}").is_success

    def picture(self, address: str) -> httpx.Response:
        return self._http.get(address)

    def wait_for(self, job_id: str, *states: str, within: float = 60) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in states else None

        return eventually(reached, within=within, every=0.1)

    def end_of(self, job_id: str, within: float = 60) -> dict[str, Any]:
        return self.wait_for(job_id, *ENDED, within=within)


def environment_of(queue: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """The services that the queue needs: started for the tests, if they are not yet."""
    if queue in ON_REDIS:
        return {"REDIS_URL": request.getfixturevalue("redis_server").url}
    if queue == "procrastinate":
        database = request.getfixturevalue("postgres").database
        place = urlencode({"host": database["HOST"], "port": database["PORT"]})
        return {"DATABASE_URL": f"postgresql://{database['USER']}@/{database['NAME']}?{place}"}
    return {}


@pytest.fixture(
    scope="module",
    params=[
        *BY_ITSELF,
        *(pytest.param(name, marks=pytest.mark.redis) for name in ON_REDIS),
        pytest.param("procrastinate", marks=pytest.mark.postgresql),
    ],
)
def painter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo on one queue, six times as quick as people see it."""
    queue: str = request.param
    need_package(*PACKAGES[queue])
    environment = environment_of(queue, request)
    running = start_demo(tmp_path_factory.mktemp(queue), QUEUE=queue, DEMO_PACE="1", **environment)
    yield running
    running.stop()


@pytest.fixture
def visitor(painter: Demo) -> Iterator[Visitor]:
    visitor = Visitor(painter)
    yield visitor
    visitor.close()


def test_a_sample_is_painted_to_the_end(visitor):
    job = visitor.end_of(visitor.start("/process_image"))
    assert (job["state"], job["percentage"]) == ("finished", 100)
    assert visitor.picture(job["result"]["painting"]).headers["Content-Type"] == "image/jpeg"


def test_a_failure_is_told_in_the_task_s_own_words(visitor):
    job = visitor.end_of(visitor.start("/scenes/fails"))
    assert job["error"] == {"code": "out_of_blue", "message": "The painter ran out of blue."}


def test_a_slow_job_that_is_cancelled_stops(visitor):
    job_id = visitor.start("/scenes/slow")
    visitor.wait_for(job_id, "running")
    visitor.cancel(job_id)
    assert visitor.end_of(job_id)["state"] == "cancelled"


def test_each_choice_ends_as_the_page_says(visitor):
    promised = {scene: state for scene, state in visitor.endings.items() if scene not in {"slow", "worker-killed"}}
    assert {"fails", "crashes", "table"} <= promised.keys()
    jobs = {scene: visitor.start(f"/scenes/{scene}") for scene in promised}
    ends = {scene: visitor.end_of(job_id, within=LOST_WITHIN) for scene, job_id in jobs.items()}
    assert {scene: job["state"] for scene, job in ends.items()} == promised
    assert all(job["attempt"] > 1 for scene, job in ends.items() if scene == "retries")
    assert all(job["error"]["code"] == "time_limit" for scene, job in ends.items() if scene == "time-limit")


def test_after_a_killed_worker_the_page_is_right_and_the_next_one_paints(visitor, painter):
    job_id = visitor.start("/scenes/worker-killed")
    assert eventually(lambda: any("The worker died" in line for line in painter.lines), within=60)
    assert visitor.job(job_id)["state"] == "running", "nobody has told of its end"
    assert visitor.end_of(visitor.start("/process_image"))["state"] == "finished"
    assert visitor.end_of(job_id, within=LOST_WITHIN)["state"] == visitor.endings["worker-killed"]


def test_what_is_left_out_is_not_found_and_has_a_reason(visitor):
    everything = {"fails", "crashes", "retries", "slow", "time-limit", "child-killed", "worker-killed", "table"}
    missing = everything - visitor.endings.keys()
    assert ("Left out with" in visitor.page) is bool(missing)
    assert {visitor.post(f"/scenes/{scene}").status_code for scene in missing} <= {404}


def test_the_pages_that_are_written_for_celery_are_not_linked(visitor):
    assert "Painted by" in visitor.page
    assert "Marathons" not in visitor.page


@pytest.mark.redis
def test_a_job_that_has_a_process_group_of_its_own_ends_with_the_demo(tmp_path, redis_server):
    need_package(*PACKAGES["rq"])
    demo = start_demo(tmp_path, QUEUE="rq", REDIS_URL=redis_server.url)
    visitor = Visitor(demo)
    visitor.wait_for(visitor.start("/scenes/slow"), "running")
    family = descendants(demo.process.pid)
    visitor.close()
    demo.stop()
    assert all_gone(family)


@pytest.mark.usefixtures("patience")
def test_in_a_browser_the_story_is_that_of_the_queue(browser, tmp_path):
    need_package(*PACKAGES["huey"])
    demo = start_demo(tmp_path, QUEUE="huey", DEMO_PACE="2")
    context = browser.new_context(base_url=demo.url)
    try:
        page = context.new_page()
        page.goto("/")
        expect(page.locator(".painter")).to_have_text("Painted by Huey")
        page.click("[data-sample=coffee]")
        expect(page.locator(".card[data-state=finished] img")).to_have_attribute("src", re.compile("thumbnail"))
        page.click("[data-scene=fails]")
        expect(page.locator(".card[data-state=failed] .message")).to_have_text("The painter ran out of blue.")
        page.click("[data-scene=worker-killed]")
        expect(page.locator(".card[data-state=stalled]")).to_be_visible()
        page.click("[data-sample=chelsea]")
        expect(page.locator(".card[data-state=finished]")).to_have_count(2)
        assert any("The worker died" in line for line in demo.lines)
    finally:
        context.close()
        demo.stop()
