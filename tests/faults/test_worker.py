"""Workers die, freeze, repeat themselves and have wrong clocks; no page shows what is not so (rows W1 to W4)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import RedisServer
from tests.site import Process as Program
from tests.site import Site, eventually, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = [pytest.mark.redis, pytest.mark.slow]

STALLED, LOST = 1.5, 6.0
LEASES = {"IMMORTUS_STALLED_AFTER": STALLED, "IMMORTUS_LOST_AFTER": LOST, "IMMORTUS_RECHECK_INTERVAL": 0.5}
SWEEP = 1.0
"""Seconds within which an overdue lease is found, on a busy machine."""


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """Store, layer and broker of the site; it may be frozen."""
    with RedisServer(keeps_data=True) as server:
        yield server


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, own_redis: RedisServer
) -> Iterator[Site]:
    options = redis_options(own_redis.url, store=True) | {"SETTINGS": json.dumps(LEASES)}
    with running_site(tmp_path_factory.mktemp(request.param), server=request.param, **options) as site:
        yield site


@pytest.fixture
def worker(site: Site) -> Program:
    """A worker that may be harmed; who finds it well may use it again."""
    known = next((process for process in site.processes if process.log.name == "usual.log"), None)
    if known is not None and known.is_running:
        return known
    if known is not None:
        site.processes.remove(known)
    return site.start_worker(concurrency=3, log="usual")


@pytest.fixture(autouse=True)
def _no_other_worker(site: Site) -> Iterator[None]:
    """What a test started for itself ends with it."""
    yield
    for process in [process for process in site.processes if process.log.name == "worker.log"]:
        process.kill()
        site.processes.remove(process)


one_server = pytest.mark.parametrize("site", ["uvicorn"], indirect=True)
"""Where the web server makes no difference."""


def start_worker_with(site: Site, *options: str, **environ: str) -> Program:
    """A worker whose environment differs from the web server's."""
    before = dict(site.env)
    site.env |= environ
    try:
        return site.start_worker(*options)
    finally:
        site.env = before


def watched_until_over(site: Site, job_id: str, within: float = 20) -> list[dict[str, Any]]:
    """What a page sees of the job."""
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id, within=within)
    versions = [document["version"] for document in watcher.documents[job_id]]
    assert versions == sorted(set(versions))
    return watcher.documents[job_id]


# W1, death


@pytest.mark.fault("W1")
@pytest.mark.usefixtures("worker")
def test_a_killed_child_is_told_at_once(site: Site) -> None:
    seen = watched_until_over(site, site.start("kills_itself"))
    assert seen[-1]["error"]["code"] == "worker_lost"


@pytest.mark.fault("W1")
def test_a_killed_worker_is_told_within_lease_and_sweep(site: Site, worker: Program) -> None:
    job_id = site.start("sleeper")
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        site.wait_for(job_id, "running")
        worker.kill()
        killed = time.monotonic()
        while not any(document["stalled"] for document in watcher.documents.get(job_id, [])):
            watcher.receive(STALLED + 5)
        stalled = time.monotonic() - killed
        watcher.until_over(job_id, within=LOST + 5)
        lost = time.monotonic() - killed
    assert watcher.documents[job_id][-1]["error"]["code"] == "lost"
    assert stalled < STALLED + SWEEP + 1
    assert LOST - STALLED < lost < LOST + 2 * SWEEP + 1


@one_server
@pytest.mark.fault("W1", twin=True)
def test_without_leases_a_killed_worker_is_never_told(site: Site) -> None:
    patient = json.dumps({"IMMORTUS_STALLED_AFTER": 3600, "IMMORTUS_LOST_AFTER": 7200})
    worker = start_worker_with(site, "-Q", "patient", SETTINGS=patient)
    job_id = site.start("sleeper", queue="patient")
    site.wait_for(job_id, "running")
    worker.kill()
    time.sleep(STALLED + SWEEP + 1)
    document = site.verify(job_id)
    assert (document["state"], document["stalled"]) == ("running", False), "it would be so for an hour"


# W2, two attempts at once


@one_server
@pytest.mark.fault("W2")
def test_of_two_runs_of_one_job_the_older_is_refused(site: Site) -> None:
    older = site.start_worker("-Q", "older", concurrency=1)
    site.start_worker("-Q", "newer", concurrency=1)
    job_id = site.start("steps", kwargs={"count": 40, "pause": 0.05}, queue="older")
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        site.wait_for(job_id, "running")
        older.signal_all(signal.SIGSTOP)
        site.start("steps", kwargs={"count": 60, "pause": 0.05}, queue="newer", task_id=job_id)
        eventually(lambda: site.verify(job_id)["attempt"] == 2, within=5)
        older.signal_all(signal.SIGCONT)
        watcher.until_over(job_id)
    time.sleep(1.5)  # the older run, thawed, had all the time to say that it is done
    seen = watcher.documents[job_id]
    assert site.verify(job_id) == seen[-1]
    assert (seen[-1]["state"], seen[-1]["attempt"], seen[-1]["total"]) == ("finished", 2, 60)
    attempts = [document["attempt"] for document in seen]
    assert attempts == sorted(attempts), "nothing of the older run after the newer began"
    of_second = [document["current"] for document in seen if document["attempt"] == 2]
    assert of_second == sorted(of_second)
    assert [document["completed"] for document in seen].count(True) == 1


# W3, no time at all


@pytest.mark.fault("W3")
@pytest.mark.usefixtures("worker")
def test_the_first_frame_tells_of_a_job_that_ended_before_its_page_looked(site: Site) -> None:
    job_id = site.start("quick")
    over = site.wait_until_over(job_id)
    assert watched_until_over(site, job_id) == [over]


# W4, processes that fork


@one_server
@pytest.mark.fault("W4")
@pytest.mark.usefixtures("worker")
def test_each_forked_child_writes_and_pushes_by_itself(site: Site) -> None:
    jobs = [site.start("timed_steps", kwargs={"count": 20, "pause": 0.05}) for _ in range(6)]
    with SocketWatcher(site.websocket_url, *jobs) as watcher:
        watcher.until_over(*jobs, within=20)
    for job_id in jobs:
        seen = watcher.documents[job_id]
        assert seen[-1]["state"] == "finished"
        assert seen[-1]["longest_call"] < 0.5
        assert [document.get("step", 0) for document in seen] == sorted(document.get("step", 0) for document in seen)


# Silence that is no death: an outage, sleep, and clocks


def sleep_through(*processes: Any) -> None:
    """All of them stand still for longer than it takes to be lost, as on a laptop whose lid is closed."""
    for process in processes:
        process.signal_all(signal.SIGSTOP)
    time.sleep(LOST + 1)
    for process in processes:
        process.signal_all(signal.SIGCONT)


@one_server
@pytest.mark.fault("W1")
def test_a_machine_that_slept_loses_no_job(site: Site, worker: Program) -> None:
    job_id = site.start("steps", kwargs={"count": 60, "pause": 0.05})
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        site.wait_for(job_id, "running")
        sleep_through(worker, site.processes[0])
        watcher.until_over(job_id, within=15)
    assert watcher.states(job_id)[-1] == "finished"
    assert "lost" not in watcher.states(job_id)


@one_server
@pytest.mark.fault("W1")
@pytest.mark.usefixtures("worker")
def test_an_outage_of_the_store_loses_no_job(site: Site, own_redis: RedisServer) -> None:
    job_id = site.start("steps", kwargs={"count": 60, "pause": 0.05})
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        site.wait_for(job_id, "running")
        own_redis.freeze()
        try:
            time.sleep(LOST + 1)
        finally:
            own_redis.thaw()
        watcher.until_over(job_id, within=20)
    assert watcher.states(job_id)[-1] == "finished"
    assert "lost" not in watcher.states(job_id)


@pytest.mark.soak
@one_server
@pytest.mark.fault("W1", twin=True)
def test_without_the_step_between_a_frozen_worker_s_job_is_lost_at_once(
    tmp_path_factory: pytest.TempPathFactory, own_redis: RedisServer, site: Site
) -> None:
    hasty = json.dumps(LEASES | {"IMMORTUS_LOST_AFTER": STALLED + 0.01})
    options = redis_options(own_redis.url, store=True) | {"SETTINGS": hasty}
    with running_site(tmp_path_factory.mktemp("hasty"), **options) as hurried:
        worker = hurried.start_worker()
        job_id = hurried.start("steps", kwargs={"count": 100, "pause": 0.05})
        hurried.wait_for(job_id, "running")
        worker.signal_all(signal.SIGSTOP)
        try:
            hurried.wait_for(job_id, "lost", within=STALLED + 3)
        finally:
            worker.signal_all(signal.SIGCONT)
        assert hurried.wait_for(job_id, "finished")["attempt"] == 1, "and is revived"


@one_server
@pytest.mark.fault("A8")
def test_workers_with_wrong_clocks_are_neither_stalled_nor_out_of_order(site: Site) -> None:
    for skew in (-90, 90):
        start_worker_with(site, "-Q", f"skew{skew}", CLOCK_SKEW=str(skew))
    options = {"count": 30, "pause": 0.1}
    jobs = [site.start("timed_steps", kwargs=options, queue=f"skew{skew}") for skew in (-90, 90)]
    for job_id in jobs:
        seen = watched_until_over(site, job_id)
        assert seen[-1]["state"] == "finished"
        assert not any(document["stalled"] for document in seen)
        assert seen[0]["enqueued_at"] <= seen[-1]["started_at"] <= seen[-1]["finished_at"]
        assert abs(seen[-1]["version"] / 1e6 - time.time()) < 30, "the store's clock counts"
