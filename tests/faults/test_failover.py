"""The store follows a failover, by Sentinel and in a Redis Cluster: jobs end right, and their pages are told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.faults.world import HEALED
from tests.servers import ClusteredRedis, RedisServer, WatchedRedis
from tests.site import Site, eventually, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = [pytest.mark.redis, pytest.mark.slow]

JOBS = 20
AWAY = 8.0
"""Seconds until the old master is back: longer than it takes to replace it."""
OVER = {"finished", "failed", "cancelled", "lost"}


@pytest.fixture
def servers(kind: type[WatchedRedis | ClusteredRedis]) -> Iterator[WatchedRedis | ClusteredRedis]:
    with kind() as servers:
        yield servers


@pytest.fixture
def site(servers: WatchedRedis | ClusteredRedis, redis_server: RedisServer, tmp_path: Path) -> Iterator[Site]:
    """A site whose layer nobody harms, with a worker."""
    store = json.dumps({"BACKEND": "redis", "OPTIONS": servers.options})
    with running_site(tmp_path, LAYER=redis_options(redis_server.url)["LAYER"], STORE=store) as site:
        site.start_worker("-P", "threads", concurrency=JOBS)
        yield site


class Diary:
    """What one page was told, and when."""

    def __init__(self, site: Site, job_id: str) -> None:
        self.job_id = job_id
        self.told: list[tuple[float, dict[str, Any]]] = []
        self._site = site

    def keep(self) -> None:
        """Follow the job to its end, coming back with its version where the socket was closed."""
        while not self.is_over:
            with SocketWatcher(self._site.websocket_url) as watcher:
                watcher.watch(self.job_id, self.told[-1][1]["version"] if self.told else 0)
                self._read(watcher)

    def _read(self, watcher: SocketWatcher) -> None:
        while not self.is_over:
            try:
                frame = watcher.receive(60)
            except ConnectionClosed:
                return
            if frame["type"] == "job":
                self.told.append((time.monotonic(), frame["job"]))

    @property
    def is_over(self) -> bool:
        return bool(self.told) and self.told[-1][1]["state"] in OVER

    @property
    def blind(self) -> float:
        """The longest time without a word while the job ran."""
        return max(after - before for (before, _), (after, _) in pairwise(self.told))


@pytest.mark.fault("D9")
@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        (WatchedRedis, "kill"),
        (ClusteredRedis, "freeze"),
        pytest.param(WatchedRedis, "freeze", marks=pytest.mark.soak),
        pytest.param(ClusteredRedis, "kill", marks=pytest.mark.soak),
    ],
)
def test_twenty_jobs_and_their_pages_go_through_a_failover_of_the_store(site, servers, harm):
    jobs = [site.start("timed_steps", kwargs={"count": 60 + 3 * n, "pause": 0.2}) for n in range(JOBS)]
    diaries = [Diary(site, job_id) for job_id in jobs]
    for job_id in jobs:
        site.wait_for(job_id, "running")
    with ThreadPoolExecutor(JOBS) as pages:
        reading = [pages.submit(diary.keep) for diary in diaries]
        time.sleep(3)
        failover = harmed(servers, harm)
        for page in reading:
            page.result(timeout=90)
    for diary in diaries:
        documents = [document for _, document in diary.told]
        assert documents[-1]["state"] == "finished"
        assert not any(document["stalled"] or document["state"] == "lost" for document in documents)
        assert [document["version"] for document in documents] == sorted({d["version"] for d in documents})
        assert diary.blind <= failover + HEALED
        on_record = site.verify(diary.job_id)
        assert on_record == documents[-1]
        assert on_record["longest_call"] < 0.5


def harmed(servers: WatchedRedis | ClusteredRedis, harm: str) -> float:
    """The seconds it took until another was the master; the old one comes back then, and learns what it is."""
    old, began = servers.master_now(), time.monotonic()
    getattr(old, harm)()
    eventually(lambda: servers.master_now() is not old, within=30)
    failover = time.monotonic() - began
    time.sleep(max(AWAY - failover, 0))
    if harm == "freeze":
        old.thaw()
    else:
        old.start()
    return failover
