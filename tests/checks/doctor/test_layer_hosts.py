"""Each host of a channel layer is asked by itself: one that is away is found every time, not now and then."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from immortus_channels.checks.doctor.layer_hosts import ask_hosts
from tests.hubs import LAYERS
from tests.servers import ClusteredRedis, RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    """Three, of which tests may harm each."""
    with ExitStack() as stack:
        yield [stack.enter_context(RedisServer()) for _ in range(3)]


@pytest.fixture(params=LAYERS)
def use(request, settings):
    """Takes hosts, and makes them those of the layer."""

    def use_them(*hosts):
        backend, options = LAYERS[request.param]
        told = [{"address": host, **options} if isinstance(host, str) else host for host in hosts]
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": told}}}

    return use_them


def wrong(seconds):
    return [host for host, error in ask_hosts(seconds).items() if error is not None]


def test_hosts_that_work_are_ok(use, servers):
    use(*(server.url for server in servers))
    assert len(ask_hosts(5.0)) == 3
    assert wrong(5.0) == []


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_one_that_is_away_is_found_every_time(use, servers, harm):
    use(*(server.url for server in servers))
    getattr(servers[1], harm)()
    try:
        with ThreadPoolExecutor() as doctors:
            for told in doctors.map(wrong, [2.0] * 4):
                assert told == [f"host 2 of 3, {servers[1].url}"]
    finally:
        servers[1].start() if harm == "kill" else servers[1].thaw()


def test_all_are_asked_at_once(use, servers):
    for server in servers:
        server.freeze()
    use(*(server.url for server in servers))
    try:
        assert len(wrong(1.0)) == 3
    finally:
        for server in servers:
            server.thaw()


def test_a_password_is_not_told(use, servers):
    use(servers[0].url.replace("//", "//:secret@"))
    (host,) = ask_hosts(1.0)
    assert "secret" not in host


@pytest.mark.slow
def test_nodes_of_a_cluster_do_for_the_pubsub_layer_alone(settings):
    with ClusteredRedis() as cluster:
        for kind, found in (("pubsub", 0), ("core", 3)):
            backend, options = LAYERS[kind]
            hosts = [{"address": node.url, **options} for node in cluster.nodes[:3]]
            settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts}}}
            assert len(wrong(5.0)) == found


@pytest.mark.parametrize(
    ("host", "told"),
    [
        (("10.0.0.1", 6379), "10.0.0.1:6379"),
        ("redis://10.0.0.1", "redis://10.0.0.1"),
        ({"host": "10.0.0.1"}, "10.0.0.1:6379"),
        ({"sentinels": [("127.0.0.1", 1)], "master_name": "jobs"}, "'jobs' by Sentinel"),
    ],
)
def test_each_way_to_name_a_host_is_told(settings, host, told):
    backend = f"{__name__}.Refusing"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [host]}}}
    (found,) = wrong(1.0)
    assert told in found


class Refusing:
    """A layer that is nowhere."""

    def __init__(self, hosts):
        self.hosts = hosts

    async def new_channel(self):
        raise ConnectionRefusedError


@pytest.mark.parametrize("layers", [{}, {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}])
def test_a_layer_without_hosts_has_none_to_ask(settings, layers):
    settings.CHANNEL_LAYERS = layers
    assert ask_hosts(1.0) == {}
