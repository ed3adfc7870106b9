"""How often a worker asks the store about a job, counted where the store hears it."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests.servers import RedisServer
from tests.site import eventually, redis_options, running_site

JOBS = 100


@pytest.mark.redis
def test_a_warm_worker_takes_one_round_trip_for_a_start(tmp_path: Path, redis_server: RedisServer) -> None:
    with (
        RedisServer() as store,
        Redis.from_url(store.url) as client,
        running_site(tmp_path, **{**redis_options(redis_server.url), **only_store(store)}) as site,
    ):
        worker = site.start_worker(concurrency=1)
        site.wait_until_over(site.start("link"))
        worker.signal_all(signal.SIGSTOP)
        waiting = [site.start("link") for _ in range(JOBS)]
        with scripts_about(waiting, store.url) as counts:
            worker.signal_all(signal.SIGCONT)
            eventually(lambda: client.zcard("{immortus}:state:finished") == JOBS + 1, within=30)
    trips = Counter(counts.values())
    assert trips[2] >= 0.99 * JOBS, trips  # the start and the end


def only_store(server: RedisServer) -> dict[str, str]:
    return {"STORE": redis_options(server.url, store=True)["STORE"]}


@contextmanager
def scripts_about(job_ids: list[str], url: str) -> Iterator[Counter[str]]:
    """Count the scripts that are called about each of these jobs meanwhile."""
    counts: Counter[str] = Counter()
    keys = {f"{{immortus}}:job:{job_id}": job_id for job_id in job_ids}
    is_ready = threading.Event()

    def listen() -> None:
        with Redis.from_url(url) as client, client.monitor() as monitor:
            is_ready.set()
            for heard in monitor.listen():
                name, *words = heard["command"].split(" ", 5)
                if name == "PING" and words == ["over"]:
                    return
                if name == "EVALSHA":
                    counts.update(keys[word] for word in words if word in keys)

    listener = threading.Thread(target=listen)
    listener.start()
    assert is_ready.wait(10)
    try:
        yield counts
    finally:
        with Redis.from_url(url) as client:
            client.execute_command("PING", "over")
        listener.join(10)
