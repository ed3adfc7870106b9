"""Real servers while their Redis, or their store, is harmed: sockets stay open, and everybody is told right.

Each server is tested with one of the layers; the other two pairs are for `make soak`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from redis import Redis

from immortus_channels.testing import History
from tests.faults.world import QUICK, SOON, SocketViewer, Told, layer_config
from tests.project import settings as project
from tests.servers import RedisServer
from tests.site import Site
from tests.toys import eventually

pytestmark = [pytest.mark.redis, pytest.mark.slow]

PAIRS = [
    "uvicorn-pubsub",
    "daphne-core",
    pytest.param("uvicorn-core", marks=pytest.mark.soak),
    pytest.param("daphne-pubsub", marks=pytest.mark.soak),
]
PROMPT = 1.5
"""Seconds within which a server answers that waits for nothing, on a busy machine."""


class World(NamedTuple):
    """A server, the Redis that carries pushes to it, and the Redis with its jobs."""

    site: Site
    kind: str
    carrier: RedisServer
    store: RedisServer


@pytest.fixture(scope="module", params=PAIRS)
def _world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server, kind = request.param.split("-")
    with RedisServer() as carrier, RedisServer(keeps_data=True) as store:
        options = {
            "LAYER": json.dumps(layer_config(kind, carrier.url)),
            "STORE": json.dumps({"BACKEND": "redis", "OPTIONS": {"url": store.url}}),
            "SETTINGS": json.dumps({"IMMORTUS_RECHECK_INTERVAL": QUICK}),
        }
        site = Site(tmp_path_factory.mktemp("site"), server=server, **options)
        try:
            site.start_web()
            yield World(site, kind, carrier, store)
        finally:
            site.close()


@pytest.fixture
def world(_world: World, settings) -> World:
    """The same settings here as there, so that this process can be a worker."""
    settings.SECRET_KEY = project.SECRET_KEY
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": _world.store.url}}
    settings.CHANNEL_LAYERS = {"default": layer_config(_world.kind, _world.carrier.url)}
    return _world


@pytest.fixture
def job(history: History, world: World) -> Told:
    job = Told(history)
    job.begun()
    return job


@pytest.fixture
def viewer(history: History, world: World, job: Told) -> Iterator[SocketViewer]:
    with SocketViewer(world.site.websocket_url, history, "ann", job.job_id) as viewer:
        assert eventually(lambda: viewer.heard("job"))
        yield viewer


def ended_well(viewer, job, elsewhere, history):
    """The end of the job is shown, on the socket that was opened at the beginning."""
    elsewhere.push(last := job.finished())
    assert eventually(lambda: viewer.shows(last), SOON)
    assert viewer.closed is None
    history.check(within=2 * SOON)


@pytest.mark.fault("A5")
def test_of_many_changes_the_newest_is_shown(viewer, job, elsewhere, history):
    for n in range(1, 401):
        last = job.reported(n)
        if n % 2 == 0:
            elsewhere.push(last)
    assert eventually(lambda: viewer.shows(last), SOON)
    ended_well(viewer, job, elsewhere, history)


@pytest.mark.fault("A7")
def test_sockets_that_come_and_go_disturb_nobody(world, viewer, job, elsewhere, history):
    def visit(n):
        with SocketViewer(world.site.websocket_url, History(), f"visitor {n}", job.job_id) as visitor:
            return eventually(lambda: visitor.heard("job"))

    with ThreadPoolExecutor(8) as pool:
        visits = pool.map(visit, range(60))
        for n in range(1, 41):
            elsewhere.push(job.reported(n))
            time.sleep(0.02)
        assert all(visits)
    ended_well(viewer, job, elsewhere, history)


@pytest.mark.fault("D1")
def test_sockets_stay_open_through_a_restart_of_redis(world, viewer, job, elsewhere, history):
    world.carrier.kill()
    elsewhere.push(last := job.reported(1))
    assert eventually(lambda: viewer.shows(last), SOON)
    world.carrier.start()
    elsewhere.push(last := job.reported(2))
    assert eventually(lambda: viewer.shows(last), SOON)
    ended_well(viewer, job, elsewhere, history)


@pytest.mark.fault("D2")
def test_while_redis_hangs_sockets_and_polls_are_answered_from_the_store(world, viewer, job, elsewhere, history):
    world.carrier.freeze()
    try:
        elsewhere.push(last := job.reported(1))
        assert eventually(lambda: viewer.shows(last), SOON)
        began = time.monotonic()
        assert world.site.verify(job.job_id)["current"] == 1
        assert time.monotonic() - began < PROMPT
    finally:
        world.carrier.thaw()
    ended_well(viewer, job, elsewhere, history)


@pytest.mark.fault("D5")
def test_no_socket_is_closed_when_connections_to_redis_are_cut(world, viewer, job, elsewhere, history):
    with Redis.from_url(world.carrier.url) as client:
        for n in range(1, 51):
            for clients in ("pubsub", "normal"):
                client.execute_command("CLIENT", "KILL", "TYPE", clients, "SKIPME", "yes")
            if n % 10 == 0:
                elsewhere.push(last := job.reported(n))
            time.sleep(0.01)
    assert eventually(lambda: viewer.shows(last), SOON)
    ended_well(viewer, job, elsewhere, history)


@pytest.mark.fault("E1")
def test_a_store_that_is_down_closes_no_socket_and_answers_once_it_is_back(world, viewer, job, elsewhere, history):
    world.store.kill()
    late = SocketViewer(world.site.websocket_url, history, "bob", job.job_id)
    with late:
        assert eventually(lambda: late.heard("hello"), PROMPT)
        time.sleep(1)
        assert not late.heard("job")
        assert not late.heard("error")
        world.store.start()
        assert eventually(lambda: late.heard("job"), 2 * SOON)
        elsewhere.push(last := job.finished())
        assert eventually(lambda: viewer.shows(last) and late.shows(last), SOON)
    assert viewer.closed is None
    history.check(within=2 * SOON)


@pytest.mark.fault("E2")
def test_while_the_store_hangs_other_sockets_get_answers_and_pushes_arrive(world, viewer, job, elsewhere, history):
    """A push carries the whole document, so whoever was answered needs the store no more."""
    newest = [job.reported(n) for n in (1, 2)]
    assert eventually(lambda: viewer.shows(newest[-1]), SOON)
    later = job.reported(3)
    world.store.freeze()
    try:
        waiting = [SocketViewer(world.site.websocket_url, History(), f"waiting {n}", job.job_id) for n in range(8)]
        began = time.monotonic()
        # The first may come before the group is joined, which the store has no part in.
        assert eventually(lambda: elsewhere.push(later) and viewer.shows(later), PROMPT)
        viewer.complain_to()
        assert eventually(lambda: viewer.heard("error"), PROMPT)
        assert time.monotonic() - began < 2 * PROMPT
    finally:
        world.store.thaw()
    for one in waiting:
        with one:
            assert eventually(lambda one=one: one.heard("job"), 2 * SOON)
    ended_well(viewer, job, elsewhere, history)
