"""Celery's own records: what they know when a worker can say no more, and when they hang (rows W5 and W6)."""

from __future__ import annotations

import json
import signal
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from celery import Celery

from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = [pytest.mark.redis, pytest.mark.slow]

STALLED, LOST = 1.5, 3.0
LEASES = {"IMMORTUS_STALLED_AFTER": STALLED, "IMMORTUS_LOST_AFTER": LOST, "IMMORTUS_RECHECK_INTERVAL": 0.5}


@pytest.fixture(scope="module")
def results() -> Iterator[RedisServer]:
    """The result backend; it may be frozen."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, results: RedisServer) -> Iterator[Site]:
    options = redis_options(f"{redis_server.url[:-1]}10", store=True)
    with running_site(
        tmp_path_factory.mktemp("site"), SETTINGS=json.dumps(LEASES), RESULT_BACKEND=results.url, **options
    ) as site:
        yield site


@pytest.fixture(autouse=True)
def _no_worker_is_left(site: Site) -> Iterator[None]:
    yield
    for process in [process for process in site.processes if process.log.name == "worker.log"]:
        process.kill()
        site.processes.remove(process)


@pytest.fixture
def _hung(results: RedisServer) -> Iterator[None]:
    results.freeze()
    yield
    results.thaw()


def write_down(results: RedisServer, job_id: str, state: str, result: object = None) -> None:
    """As a worker would that has no other way left to tell."""
    with Celery("worker", backend=results.url, set_as_current=False) as app, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Celery's own use of redis-py
        app.backend.store_result(job_id, result, state)


def killed(site: Site, task: str = "sleeper", **kwargs: object) -> str:
    """A job whose whole worker is gone."""
    worker = site.start_worker()
    job_id = site.start(task, kwargs=kwargs)
    site.wait_for(job_id, "running")
    worker.kill()
    return job_id


@pytest.mark.fault("W5")
def test_a_child_killed_after_celery_recorded_its_success_has_finished(site: Site) -> None:
    site.start_worker()
    document = site.wait_until_over(site.start("done_before", kwargs={"then": "kill"}))
    assert (document["state"], document["result"]) == ("finished", {"done": True})


@pytest.mark.fault("W5")
@pytest.mark.parametrize(
    ("word", "end"), [("SUCCESS", ("finished", None)), ("FAILURE", ("failed", "error")), ("REVOKED", ("lost", "lost"))]
)
def test_a_lost_job_is_what_celery_has_on_record_of_its_run(
    site: Site, results: RedisServer, word: str, end: tuple[str, str | None]
) -> None:
    job_id = killed(site)
    write_down(results, job_id, word, RuntimeError("a secret") if word != "SUCCESS" else None)
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
    document = watcher.documents[job_id][-1]
    assert (document["state"], (document["error"] or {}).get("code")) == end
    assert document == site.verify(job_id)


@pytest.mark.fault("W5")
@pytest.mark.parametrize("word", ["SUCCESS", "FAILURE", "STARTED", "RETRY"])
def test_what_celery_has_on_record_of_an_earlier_run_is_not_its_end(
    site: Site, results: RedisServer, word: str
) -> None:
    job_id = f"twice-{word}"
    write_down(results, job_id, word, RuntimeError("a secret") if word in ("FAILURE", "RETRY") else None)
    worker = site.start_worker()
    site.start("sleeper", task_id=job_id)
    site.wait_for(job_id, "running")
    worker.kill()
    assert site.wait_until_over(job_id)["state"] == "lost"


@pytest.fixture
def boss(site: Site) -> Iterator[httpx.Client]:
    """Somebody who may see every job, and so may ask for what is not on record."""
    with httpx.Client(base_url=site.url, timeout=60) as client:
        client.get("/log-in/boss")
        promotion = "from django.contrib.auth.models import User; User.objects.update(is_superuser=True)"
        site.manage("shell", "-v", "0", "-c", promotion)
        yield client


@pytest.mark.fault("W6")
def test_whoever_may_see_every_job_is_told_what_the_result_backend_knows(
    site: Site, results: RedisServer, boss: httpx.Client
) -> None:
    write_down(results, "not-on-record", "SUCCESS")
    assert boss.get("/immortus/verify/not-on-record").json()["state"] == "finished"
    assert site.verify("not-on-record")["error"]["code"] == "unknown_job"


@pytest.mark.fault("W6")
def test_a_job_is_lost_though_the_result_backend_hangs_and_revived_later(site: Site, results: RedisServer) -> None:
    worker = site.start_worker()
    job_id = site.start("sleeper", kwargs={"seconds": 15})
    site.wait_for(job_id, "running")
    results.freeze()
    worker.signal_all(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert site.wait_until_over(job_id)["state"] == "lost"
        assert time.monotonic() - began < LOST + 2 + 2
    finally:
        results.thaw()
        worker.signal_all(signal.SIGCONT)
    assert site.wait_for(job_id, "finished", within=25)


@pytest.mark.fault("W6")
@pytest.mark.usefixtures("_hung")
def test_a_hung_result_backend_delays_an_unknown_job_s_answer_two_seconds(
    boss: httpx.Client,
) -> None:
    for ids in ["unknown"], [f"unknown-{n}" for n in range(50)]:
        time.sleep(5.1)  # until it is asked again
        began = time.monotonic()
        answer = boss.get("/immortus/verify", params={"job_id": ids}).json()
        assert 1.9 < time.monotonic() - began < 3
        assert {job["error"]["code"] for job in answer["jobs"]} == {"unknown_job"}


@pytest.mark.fault("W6")
def test_many_who_wait_for_a_hung_result_backend_delay_nobody_else(
    site: Site, boss: httpx.Client, request: pytest.FixtureRequest
) -> None:
    job_id = site.start("quick")  # Celery itself asks the backend, for as long as that takes
    request.getfixturevalue("_hung")
    time.sleep(5.1)  # until it is asked again
    with ThreadPoolExecutor(40) as threads:
        asked = [threads.submit(boss.get, f"/immortus/verify/unknown-{n}") for n in range(40)]
        for _ in range(20):
            began = time.monotonic()
            assert site.http.get(f"/immortus/verify/{job_id}").status_code == 200
            assert time.monotonic() - began < 1.5
            time.sleep(0.1)
        assert {answer.result().status_code for answer in asked} == {404}
