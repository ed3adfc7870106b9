"""Seeds 001 and 002, "Tracking Strategies": which one a job uses, and what it is asked and told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.servers import RedisServer
from tests.site import Site, eventually, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def configured_site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    """A site whose settings name a strategy for all jobs."""
    options = redis_options(redis_server.url) | {
        "BROKER_URL": f"{redis_server.url[:-1]}11",
        "SETTINGS": json.dumps({"IMMORTUS_TRACKING_STRATEGY": "my_custom_tracking_strategy"}),
    }
    with running_site(tmp_path_factory.mktemp("configured"), **options) as site:
        site.start_worker(concurrency=1)
        yield site


def create(site: Site, name: str, *arguments: object) -> str:
    return str(site.http.post(f"/create_job/{name}", json=arguments).json()["job_id"])


def ended(site: Site, name: str) -> dict[str, Any]:
    return site.wait_until_over(create(site, name))


# How configure which strategy should a job use?


@pytest.mark.case(11)
def test_an_inline_strategy_comes_first_also_before_the_global_one(site: Site, configured_site: Site) -> None:
    """Seed 001: "This will set this `redus_pub_sub_strategy` for this job only"."""
    for one in (site, configured_site):
        document = ended(one, "generate_invoice")
        assert document["channel"] == f"jobs:{document['job_id']}"
        assert "status" not in document


@pytest.mark.case(11)
def test_the_global_one_comes_next_and_serves_every_job_that_names_none(configured_site: Site) -> None:
    """Seed 001: `Immortus::Job.tracking_strategy = …`, "to be used for all jobs"."""
    assert ended(configured_site, "my_job")["status"] == "finished"


@pytest.mark.case(11)
def test_otherwise_it_is_inferred_from_the_queue(site: Site) -> None:
    """Seed 001: nothing inline, nothing global."""
    document = ended(site, "my_job")
    assert (document["state"], document["percentage"]) == ("finished", 100)
    assert not {"status", "channel"} & set(document)


# Callbacks


@pytest.mark.case(1)
def test_each_callback_is_called_once_in_its_turn_with_the_job_id(site: Site, redis_server: RedisServer) -> None:
    """Seed 002, callbacks: enqueued, started, successfully finished."""
    job_id = ended(site, "generate_invoice")["job_id"]
    with Redis.from_url(f"{redis_server.url[:-1]}10", decode_responses=True) as redis:
        assert redis.lrange(f"jobs:{job_id}", 0, -1) == ["created", "started", "finished"]


@pytest.mark.case(17)
def test_a_custom_strategy_keeps_its_table_and_its_meta_is_in_every_answer(site: Site) -> None:
    """Seed 001, "Define a custom tracking strategy": created, started, finished, as its table has it."""
    job_id = create(site, "my_custom_job")
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        eventually(lambda: site.verify(job_id).get("status") == "started", within=10)
        watcher.until_over(job_id)
    told = [document["status"] for document in watcher.documents[job_id]]
    assert all((document["status"] == "finished") is document["completed"] for document in watcher.documents[job_id])
    assert [status for status, before in zip(told, [None, *told], strict=False) if status != before][-2:] == [
        "started",
        "finished",
    ]
    verified = site.verify(job_id)
    assert (verified["completed"], verified["status"]) == (True, "finished")


# Delayed::Job Strategy


@pytest.mark.parametrize(
    ("record", "completed", "state"),
    [
        pytest.param({}, False, "enqueued", id="created"),
        pytest.param({"locked_at": "2026-11-22T17:00:00Z"}, False, "running", id="started"),
        pytest.param({"attempts": 1}, False, "running", id="started with previous attempts"),
        pytest.param(None, True, "finished", id="finished"),
    ],
)
def test_a_strategy_without_callbacks_tells_by_status(
    site: Site, record: dict[str, object] | None, completed: object, state: str
) -> None:
    """Seed 002, status: `:created`, `:started` and `:finished`, found by the job_id inside the handler column."""
    site.http.request("DELETE", "/delayed_jobs/all")
    if record is not None:
        site.http.post("/delayed_jobs/d-1", json=record)
    told = site.http.get("/immortus/verify/d-1/tests.seeds.documentation.tasks.delayed").json()
    assert (told["completed"], told["state"]) == (completed, state)
