"""Seed 003, JobState: "Showing Real-time Updates Using Ajax"; its JavaScript is in `race.html`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.site import Site, eventually
from tests.watcher import SocketWatcher

Until = Callable[..., None]

FOLLOW = """
(jobUuids) => {
  window.told = Object.fromEntries(jobUuids.map((jobUuid) => [jobUuid, []]));
  for (const jobUuid of jobUuids) {
    const note = (callback) => (data) => told[jobUuid].push({callback, data});
    JobState.startPolling({
      jobUuid: jobUuid,
      pollingPeriod: 500, // twice a second
      update: note("update"),
      success: note("success"),
      error: note("error"),
    });
  }
}
"""
MILES = "document.querySelector('.distance-run-so-far').textContent"


@pytest.fixture
def run_marathon(site: Site) -> Callable[..., str]:
    def run_marathon(**options: Any) -> str:
        return str(site.http.post("/run_marathon", json=options).json()["job_id"])

    return run_marathon


@pytest.fixture
def loads(page: Page) -> list[str]:
    """The page's loads so far; the sixth is refused, which ends what would go on for ever."""
    loads: list[str] = []

    def load(route: Route) -> None:
        loads.append(route.request.url)
        if len(loads) > 5:
            route.abort()
        else:
            route.continue_()

    page.route("**/marathon*", load)
    return loads


def followed(page: Page, until: Until, *job_uuids: str) -> dict[str, list[dict[str, Any]]]:
    """What the callbacks of each job are told until all are over, and a while longer."""
    page.goto("/marathon")
    page.evaluate(FOLLOW, list(job_uuids))
    over = "Object.values(told).every((all) => all.some(({callback}) => callback !== 'update'))"
    until(lambda: page.evaluate(over))
    page.wait_for_timeout(500)
    told: dict[str, list[dict[str, Any]]] = page.evaluate("told")
    return told


def test_jobstate_allows_your_users_to_see_real_time_updates(page: Page, run_marathon, loads, until: Until) -> None:
    """Seed 003, Purpose, and the sample as it stands: the distance changes, and success reloads the page, once."""
    page.goto(f"/marathon?job={run_marathon()}")
    page.wait_for_function(f"Number({MILES}) > 2.62", timeout=15000)
    until(lambda: len(loads) == 2)
    page.wait_for_timeout(1500)
    assert len(loads) == 2


def test_an_ended_job_reloads_its_page_once_and_not_for_ever(
    page: Page, site: Site, run_marathon, loads, until: Until
) -> None:
    """Seed 003: `success: function() { location.reload(); }` on a page that is opened after the end."""
    job_uuid = run_marathon(pause=0)
    site.wait_for(job_uuid, "finished")
    page.goto(f"/marathon?job={job_uuid}")
    until(lambda: len(loads) == 2)
    page.wait_for_timeout(1500)
    assert len(loads) == 2


def test_each_of_two_jobs_reloads_the_page_when_it_ends(page: Page, run_marathon, loads, until: Until) -> None:
    """Seed 003: what one job told before does not hide the end of the other."""
    page.goto(f"/marathon?job={run_marathon(pause=0.05)}&job={run_marathon(pause=0.2)}")
    until(lambda: len(loads) == 3)
    page.wait_for_timeout(1500)
    assert len(loads) == 3


def test_the_data_object_has_one_attribute_per_metric_and_the_job_state(page: Page, run_marathon, until) -> None:
    """Seed 003: "job_state that is either 'success', 'error' or 'working'"; a number arrives as a number."""
    job_uuid = run_marathon()
    told = followed(page, until, job_uuid)[job_uuid]
    *updates, end = told
    assert end["callback"] == end["data"]["job_state"] == "success"
    assert end["data"]["miles_run"] == 26.2
    assert {one["callback"] for one in updates} == {"update"}
    assert {one["data"]["job_state"] for one in updates} == {"working"}
    miles = [one["data"]["miles_run"] for one in updates if "miles_run" in one["data"]]
    assert miles == sorted(miles)
    assert len(set(miles)) >= 3


def test_a_job_state_holds_parameters_metrics_and_state_in_the_rails_app(site: Site, run_marathon) -> None:
    """Seed 003, "Communicating with a JobState Object": what the worker sets, the controller reads."""

    def held() -> dict[str, Any]:
        told: dict[str, Any] = site.http.get(f"/marathon/{job_uuid}").json()
        return told

    job_uuid = run_marathon(city="Boston")
    running = eventually(lambda: (told := held())["metrics"] and told, within=15)
    assert running["params"] == {"city": "Boston"}
    assert 0 < running["metrics"]["miles_run"] < 26.2
    assert [running[word] for word in ("working", "success", "error")] == [True, False, False]
    site.wait_for(job_uuid, "finished")
    assert held() == {
        "params": {"city": "Boston"},
        "metrics": {"miles_run": 26.2},
        "working": False,
        "success": True,
        "error": False,
    }


@pytest.mark.case(38)
def test_what_the_rails_app_sets_and_what_the_job_sets_are_both_kept(site: Site, run_marathon) -> None:
    """Seed 003: information goes back and forth between the two processes; in the original one undid the other."""
    job_uuid = run_marathon(stride=0.2, pause=0.02)
    site.wait_for(job_uuid, "running", "finished")
    with SocketWatcher(site.websocket_url, job_uuid) as watcher:
        for spectators in range(1, 21):
            site.http.post(f"/marathon/{job_uuid}", content=str(spectators))
        watcher.until_over(job_uuid)
    end = watcher.documents[job_uuid][-1]
    assert (end["miles_run"], end["spectators"]) == (26.2, 20)
    seen = [document.get("spectators", 0) for document in watcher.documents[job_uuid]]
    assert seen == sorted(seen)


@pytest.mark.case(37)
def test_a_runner_of_small_strides_tells_the_last_mile_in_few_documents(site: Site, run_marathon) -> None:
    """Seed 003: `@miles += 0.01` until 26.2, here without sleeping: 2,620 metrics, and the last one is exact."""
    job_uuid = run_marathon(stride=0.01, pause=0)
    with SocketWatcher(site.websocket_url, job_uuid) as watcher:
        watcher.until_over(job_uuid)
    assert watcher.documents[job_uuid][-1]["miles_run"] == 26.2
    assert len(watcher.documents[job_uuid]) < 100


def test_the_job_done_failed(page: Page, run_marathon, alerts: list[str], until: Until) -> None:
    """Seed 003: `error: function() { alert('The job done failed.'); }`, for a job that "crashed due to an error"."""
    page.goto(f"/marathon?job={run_marathon(stumbles=True)}")
    until(lambda: alerts)
    page.wait_for_timeout(1000)
    assert alerts == ["The job done failed."]


@pytest.mark.case(24)
def test_you_can_have_more_than_one_job_polled_at_a_time_on_any_given_page(page: Page, run_marathon, until) -> None:
    """Seed 003, Issues: "you can only have one job status being polled at a time", which is no longer so."""
    winner, stumbler = run_marathon(), run_marathon(stumbles=True)
    told = followed(page, until, winner, stumbler)
    for job_uuid in (winner, stumbler):
        assert {one["data"]["job_id"] for one in told[job_uuid]} == {job_uuid}
    ends = {job: [one["callback"] for one in all_ if one["callback"] != "update"] for job, all_ in told.items()}
    assert ends == {winner: ["success"], stumbler: ["error"]}
    assert told[winner][-1]["data"]["miles_run"] == 26.2
    assert told[stumbler][-1]["data"]["miles_run"] == 2.62


def test_a_job_is_killed(page: Page, site: Site, run_marathon) -> None:
    """Seed 003's `JobState.killJob`: the runner stops, and the page is told."""
    job_uuid = run_marathon(pause=1)
    page.goto("/marathon")
    page.evaluate(FOLLOW, [job_uuid])
    page.wait_for_function(f"told['{job_uuid}'].some(({{data}}) => data.miles_run)", timeout=15000)
    document = page.evaluate("(jobUuid) => JobState.killJob(jobUuid)", job_uuid)
    assert document["cancel_requested"] is True
    page.wait_for_function(f"told['{job_uuid}'].at(-1).callback === 'error'", timeout=15000)
    end = page.evaluate(f"told['{job_uuid}'].at(-1).data")
    assert (end["job_state"], end["state"], end["error"]["code"]) == ("error", "cancelled", "cancelled")
    assert end["miles_run"] < 26.2
    assert site.verify(job_uuid)["state"] == "cancelled"


def test_you_should_restrict_which_users_have_access(page: Page, browser: Browser, site: Site, hasten) -> None:
    """Seed 003, Installing: another user's job is told as unknown, where the original told nothing."""
    runner = browser.new_context(base_url=site.url)
    runner.request.get("/log-in/runner")
    job_uuid = runner.request.post("/run_marathon", data={"pause": 0}).json()["job_id"]
    told = followed(page, hasten, job_uuid)[job_uuid]
    runner.close()
    assert [(one["callback"], one["data"]["job_id"], one["data"]["error"]["code"]) for one in told] == [
        ("error", job_uuid, "unknown_job")
    ]
