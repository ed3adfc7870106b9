"""Sentinel makes a replica the master: the channel layer follows, and pages stay right."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.faults.test_redis import is_pushed_again, watching
from tests.faults.world import SOON
from tests.hubs import LAYERS
from tests.pages import until
from tests.servers import RedisServer, SentinelServer, wait_until

pytestmark = [
    pytest.mark.redis,
    pytest.mark.soak,
    pytest.mark.usefixtures("quick"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _uncollected() -> Iterator[None]:
    """channels_redis never closes its connections to sentinels: let the collector not find them after the last test."""
    yield
    gc.freeze()


@pytest.fixture
def sentinel() -> Iterator[tuple[SentinelServer, RedisServer]]:
    """A sentinel, and the master that it watches; a replica stands ready."""
    with RedisServer() as master, RedisServer() as replica:
        with Redis.from_url(replica.url) as client:
            client.replicaof("127.0.0.1", str(master.port))
        with Redis.from_url(master.url) as client:
            wait_until(lambda: client.info("replication")["connected_slaves"] == 1)
        with SentinelServer(master.port) as sentinel:
            wait_until(sentinel.knows_a_replica)
            yield sentinel, master


@pytest.mark.fault("D6")
async def test_a_failover_is_healed_all_along_and_pushed_again_afterwards(
    kind, sentinel, use, started_hub, history, elsewhere, settings
):
    server, master = sentinel
    backend, options = LAYERS[kind]
    host = {"sentinels": [("127.0.0.1", server.port)], "master_name": "immortus", **options}
    use({"BACKEND": backend, "CONFIG": {"hosts": [host]}})
    hub = started_hub()
    job, page = await watching(hub, history)
    master.kill()
    while server.master_port() == master.port:
        await elsewhere.apush(last := job.reported(len(page.frames)))
        await until(lambda last=last: page.shows(last), within=SOON)
        await asyncio.sleep(0.2)
    await is_pushed_again(hub, job, page, elsewhere, history, settings)
