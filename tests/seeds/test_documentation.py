"""Seed 001, "Immortus JavaScript": the two chains and what "this will produce".

Its five callbacks are in `page.html`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.site import Site, eventually

Until = Callable[..., None]

CREATE_AND_TRACK = """
Immortus.create('/create_job')
        .then(jobCreatedSuccessfully, jobFailedToCreate)
        .then(function(jobInfo) {
          return Immortus.verify(jobInfo, { polling: { interval: 800 } })
                         .then(jobFinished, jobFailed, jobInProgress);
        });
"""

ONLY_TRACK = """
var jobInfo = {job_info};

var options = {
  polling: {
    interval: 800
  }
};

Immortus.verify(jobInfo, options)
        .then(jobFinished, jobFailed, jobInProgress);
"""

TRACK_BY_CUSTOM_VERIFY = """
jobCreatedSuccessfully = function(data) {
  return { verify_job_url: '/job_custom_verify/' + data.job_id }
}

jobInProgress = function(data) {
  console.log(JSON.stringify(data));
}

jobFinished = jobInProgress;
"""

LAST_LINES = ("Job failed to create", "failed to perform", "finished successfully")


@pytest.fixture
def produced(page: Page, lines: list[str], until: Until) -> Callable[..., list[str]]:
    """The console lines of a sample, from its first to a while after its last, which is waited for with `until`."""
    page.goto("/documentation")

    def produced(sample: str, until: Until = until) -> list[str]:
        page.add_script_tag(content=sample)
        until(lambda: any(line.endswith(LAST_LINES) for line in lines))
        page.wait_for_timeout(500)
        # Chromium itself writes of answers that are not 2xx.
        return [line for line in lines if not line.startswith("Failed to load resource")]

    return produced


def only_track(**job_info: str) -> str:
    return ONLY_TRACK.replace("{job_info}", json.dumps(job_info))


def created_job_of(lines: list[str]) -> str:
    found = re.fullmatch("Job (.*) created successfully", lines[0])
    assert found, lines
    return found[1]


def repeated(lines: list[str]) -> list[str]:
    """The lines with each repetition told once: it "can be repeated more/less times"."""
    return [line for line, _ in itertools.groupby(lines)]


# To create and track an async job call in your JS


def test_if_success_creation_and_verify(produced) -> None:
    """Seed 001: created successfully, is still executing ..., finished successfully."""
    lines = produced(CREATE_AND_TRACK)
    job_id = created_job_of(lines)
    assert repeated(lines) == [
        f"Job {job_id} created successfully",
        f"Job {job_id} is still executing ...",
        f"Job {job_id} finished successfully",
    ]
    assert len(lines) >= 5


@pytest.mark.case(30)
def test_if_fail_to_create(produced) -> None:
    """Seed 001: "Executed when `create job` AJAX request returns with a non 2xx status code"; nothing else is."""
    assert produced(CREATE_AND_TRACK.replace("create_job", "create_refused_job")) == ["Job failed to create"]


def test_if_success_creation_but_fail_verify(hasten, produced) -> None:
    """Seed 001: "Executed when a `verify job` AJAX requests returns with a non 2xx status code"."""
    lines = produced(CREATE_AND_TRACK.replace("create_job", "create_forgotten_job"), until=hasten)
    job_id = created_job_of(lines)
    assert lines == [f"Job {job_id} created successfully", f"Job {job_id} failed to perform"]


def test_a_job_that_raises_failed_to_perform(produced) -> None:
    """Seed 001, where the original kept saying that it was still executing."""
    lines = produced(CREATE_AND_TRACK.replace("create_job", "start/crashes"))
    job_id = created_job_of(lines)
    assert [line for line in lines if not line.endswith("is still executing ...")] == [
        f"Job {job_id} created successfully",
        f"Job {job_id} failed to perform",
    ]
    assert lines[-1] == f"Job {job_id} failed to perform"


@pytest.mark.case(28)
def test_a_job_that_is_over_before_create_is_answered_is_told_as_finished(produced) -> None:
    """Seed 001: the chain, where the worker is faster than the web server."""
    lines = produced(CREATE_AND_TRACK.replace("create_job", "create_outrun_job"))
    job_id = created_job_of(lines)
    assert lines == [f"Job {job_id} created successfully", f"Job {job_id} finished successfully"]


# To only track an existing job without creating it


def test_if_success_verify(produced, site: Site) -> None:
    """Seed 001: "only the `verify` callback to verify only without creating the job"."""
    job_id = site.start("steps", kwargs={"count": 5, "pause": 0.3})
    lines = produced(only_track(job_id=job_id, job_class="tests.project.shop.tasks.steps"))
    assert repeated(lines) == [f"Job {job_id} is still executing ...", f"Job {job_id} finished successfully"]


def test_if_fail_verify(hasten, produced) -> None:
    """Seed 001: a job that there is not."""
    job_id = "908ec6f1-e093-4943-b7a8-7c84eccfe417"
    sample = only_track(job_id=job_id, job_class="job_class")
    assert produced(sample, until=hasten) == [f"Job {job_id} failed to perform"]


def test_if_we_set_to_a_wrong_verify_route_we_still_know_the_job(hasten, produced) -> None:
    """Seed 001: "with a typo, not in routes, etc"; the original's data was empty then."""
    job_id = "908ec6f1-e093-4943-b7a8-7c84eccfe417"
    sample = only_track(job_id=job_id, job_class="job_class", verify_job_url="/custom_verify_path/with_job_id")
    assert produced(sample, until=hasten) == [f"Job {job_id} failed to perform"]


# How to create a custom verify


@pytest.mark.case(21)
def test_completed_tells_javascript_when_to_stop_polling_a_custom_verify(
    page: Page, lines: list[str], until: Until
) -> None:
    """Seed 001: a controller method that answers `completed` and `percentage` by the job's strategy at class level."""
    page.clock.install()
    page.goto("/documentation")
    asked: list[str] = []
    sockets: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.add_script_tag(content=TRACK_BY_CUSTOM_VERIFY)
    page.add_script_tag(content=CREATE_AND_TRACK.replace("create_job", "create_job_with_custom_verify"))
    until(lambda: lines and json.loads(lines[-1])["completed"])
    page.clock.run_for(5_000)
    page.wait_for_timeout(200)
    told = [json.loads(line) for line in lines]
    assert told[-1] == {"completed": True, "percentage": 100}
    assert [one["completed"] for one in told].count(True) == 1
    assert {frozenset(one) for one in told} == {frozenset({"completed", "percentage"})}
    assert len({one["percentage"] for one in told}) >= 3
    assert ["/job_custom_verify/" in url for url in asked] == [False] + [True] * len(told)
    assert sockets == []


@pytest.mark.case(29)
def test_interval_is_the_minimum_wait_time_from_last_success_request(page: Page, site: Site, until: Until) -> None:
    """Seed 001: "we get a new request in server every second (aprox.)", where the server answers fast every 0.8 s."""
    page.goto("/documentation")
    asked: list[float] = []
    page.on("requestfinished", lambda request: asked.append(request.timing["startTime"]))
    job_id = site.http.post("/create_job_with_custom_verify").json()["job_id"]
    page.add_script_tag(content=only_track(verify_job_url=f"/job_custom_verify/{job_id}"))
    site.wait_until_over(job_id)
    until(lambda: len(asked) >= 4)
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert min(gaps) >= 790
    assert min(gaps) < 1200


# Controller


def test_render_immortus_sends_job_id_and_job_class(site: Site) -> None:
    """Seed 001, Create Job, and what it is the same as to write."""
    answer = site.http.post("/create_job")
    assert answer.is_success
    assert answer.json()["job_class"] == "tests.seeds.documentation.tasks.my_job"
    assert site.verify(answer.json()["job_id"])["job_id"] == answer.json()["job_id"]
    assert site.http.post("/create_refused_job").status_code == 500


@pytest.mark.case(16)
def test_default_verify_sends_what_meta_returns_and_completed(site: Site) -> None:
    """Seed 001, "How does default verify works": the field progress, by a strategy of its own."""
    job_id = site.http.post("/create_job_with_custom_verify").json()["job_id"]
    job_class = "tests.seeds.documentation.tasks.job_custom_verify"
    running = eventually(lambda: (d := site.verify(job_id)).get("progress") and d, within=10)
    assert running["completed"] is False
    assert running["progress"] in range(10, 100, 10)
    site.wait_until_over(job_id)
    told = site.http.get(f"/immortus/verify/{job_id}/{job_class}").json()
    assert (told["completed"], told["progress"]) == (True, 100)


def test_default_verify_sends_job_id_even_if_it_fails(site: Site) -> None:
    """Seed 001: "It always send `job_id` to JavaScript even if it fails to verify the job"."""
    answer = site.http.get("/immortus/verify/never-was/job_class")
    assert (answer.is_success, answer.json()["job_id"]) == (False, "never-was")


# Immortus::Job


@pytest.mark.parametrize(("video", "queue"), [("", "videojobs"), ("?premium", "premium_videojobs")])
def test_a_job_chooses_its_queue_when_it_is_sent(site: Site, video: str, queue: str) -> None:
    """Seed 001: `queue_as do … end`, by whether the video's owner is premium."""
    document = site.wait_until_over(site.http.post(f"/process_video{video}").json()["job_id"])
    assert (document["state"], document["queue"]) == ("finished", queue)


def test_a_job_that_rescues_its_own_error_is_finished(site: Site) -> None:
    """Seed 001: `rescue_from(ActiveRecord::RecordNotFound)`."""
    document = site.wait_until_over(site.http.post("/process_video?deleted").json()["job_id"])
    assert (document["state"], document["rescued"]) == ("finished", "There is no such video.")
