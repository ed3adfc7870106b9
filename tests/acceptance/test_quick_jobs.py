"""A thousand jobs that are over almost before anybody looks."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site
from tests.watcher import SocketWatcher

JOBS = 1000
VIEWERS = 8
ASK_AGAIN = {"unknown_job", "store_unavailable"}
"""What a page that asks again soon, as `immortus.js` does, is told when the machine is too busy to tell the state."""


@pytest.mark.case(6)
@pytest.mark.redis
@pytest.mark.slow
def test_a_thousand_jobs_of_no_length_are_each_told_right_and_once(tmp_path: Path, redis_server: RedisServer) -> None:
    options = redis_options(redis_server.url, store=True)
    with running_site(tmp_path, **options) as site:
        site.start_worker(concurrency=2)
        with ThreadPoolExecutor(VIEWERS) as viewers:
            ends = [end for some in viewers.map(lambda n: view(site, n), range(VIEWERS)) for end in some]
    assert len(ends) == JOBS
    assert all(end["state"] == "finished" for _, end in ends)
    assert [(value, end.get("last")) for value, end in ends if end.get("last") != value] == []


def view(site: Site, viewer: int) -> list[tuple[int, dict[str, Any]]]:
    """Start this viewer's share of jobs, each looked at after a moment; the end each was told of."""
    chance = random.Random(viewer)
    follow = follow_by_socket if viewer % 2 else follow_by_polling
    ends = []
    with httpx.Client(base_url=site.url, timeout=20) as http:
        for value in range(viewer, JOBS, VIEWERS):
            options = {"kwargs": {"pause": chance.uniform(0, 0.005), "value": value}}
            job_id = http.post("/start/quick", json=options).json()["job_id"]
            time.sleep(chance.uniform(0, 0.05))
            ends.append((value, follow(site, http, job_id)))
    return ends


def follow_by_socket(site: Site, http: httpx.Client, job_id: str) -> dict[str, Any]:
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id, within=30)
        assert [document["completed"] for document in watcher.documents[job_id]].count(True) == 1
        return watcher.documents[job_id][-1]


def follow_by_polling(site: Site, http: httpx.Client, job_id: str) -> dict[str, Any]:
    for _ in range(600):
        document: dict[str, Any] = http.get(f"/immortus/verify/{job_id}").json()
        if document.get("state", "running") not in {"enqueued", "running"}:
            return document
        assert document.get("error") is None or document["error"]["code"] in ASK_AGAIN
        time.sleep(0.05)
    raise TimeoutError(job_id)
