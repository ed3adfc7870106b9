"""Redis dies, hangs and loses every push in the middle of jobs: nobody is told anything wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer(keeps_data=True) as server:
        yield server


def options_of(redis: RedisServer, store: str) -> dict[str, str]:
    """This Redis is layer, and store if wanted; the broker is another's, for its outages are Celery's affair."""
    return {
        name: value for name, value in redis_options(redis.url, store=store == "redis").items() if name != "BROKER_URL"
    }


@pytest.mark.fault("D1")
@pytest.mark.parametrize("store", ["database", "redis"])
def test_jobs_go_through_a_restart_of_redis(tmp_path: Path, own_redis: RedisServer, store: str) -> None:
    with running_site(tmp_path, **options_of(own_redis, store)) as site:
        site.start_worker()
        jobs = [site.start("timed_steps", kwargs={"count": 40, "pause": 0.1}) for _ in range(2)]
        with SocketWatcher(site.websocket_url, *jobs) as watcher:
            for job_id in jobs:
                site.wait_for(job_id, "running")
            own_redis.kill()
            time.sleep(1.5)
            own_redis.start()
            watcher.until_over(*jobs, within=20)
        assert_all_went_well(site, watcher, jobs)


@pytest.mark.fault("D2")
@pytest.mark.parametrize("store", ["database", "redis"])
def test_jobs_that_end_while_redis_hangs_are_told_right(tmp_path: Path, own_redis: RedisServer, store: str) -> None:
    with running_site(tmp_path, **options_of(own_redis, store)) as site:
        site.start_worker()
        short = site.start("timed_steps", kwargs={"count": 30, "pause": 0.1})
        long = site.start("timed_steps", kwargs={"count": 250, "pause": 0.1})
        with SocketWatcher(site.websocket_url, short, long) as watcher:
            site.wait_for(short, "running")
            site.wait_for(long, "running")
            own_redis.freeze()
            time.sleep(20)
            own_redis.thaw()
            watcher.until_over(short, long, within=25)
        assert_all_went_well(site, watcher, [short, long])


def assert_all_went_well(site: Site, watcher: SocketWatcher, jobs: list[str]) -> None:
    for job_id in jobs:
        document = site.verify(job_id)
        assert document["state"] == "finished"
        assert document["longest_call"] < 0.5
        assert "lost" not in watcher.states(job_id)
        versions = [seen["version"] for seen in watcher.documents[job_id]]
        assert versions == sorted(set(versions))
        assert watcher.documents[job_id][-1] == document


@pytest.mark.fault("A1")
def test_every_push_may_be_lost_and_every_page_is_right_within_six_seconds(tmp_path: Path) -> None:
    layer = json.dumps({"BACKEND": "immortus_channels.testing.FaultyChannelLayer", "CONFIG": {"drop": 1}})
    with running_site(tmp_path, LAYER=layer) as site:
        site.start_worker()
        job_id = site.start("steps", kwargs={"count": 10, "pause": 0.1})
        with SocketWatcher(site.websocket_url, job_id) as watcher:
            site.wait_until_over(job_id)
            watcher.until_over(job_id, within=6)
        assert watcher.documents[job_id][-1] == site.verify(job_id)


def test_without_any_layer_pages_are_told_by_the_recheck(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        site.start_worker()
        job_id = site.start("steps", kwargs={"count": 10, "pause": 0.2})
        with SocketWatcher(site.websocket_url, job_id) as watcher:
            watcher.until_over(job_id)
        assert len({document["percentage"] for document in watcher.documents[job_id]}) >= 5
