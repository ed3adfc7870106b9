"""Hubs and layers for tests, and a way to be another process."""

from __future__ import annotations

import threading

import pytest

from immortus_channels import metrics
from immortus_channels.push import receivers
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.layer import shared_layer
from immortus_channels.websocket.hub import get_hub
from tests.pages import until

LAYERS = {
    "pubsub": ("channels_redis.pubsub.RedisPubSubChannelLayer", {"socket_connect_timeout": 1, "socket_timeout": 1}),
    "core": ("channels_redis.core.RedisChannelLayer", {"socket_timeout": 15}),
}


@pytest.fixture
def memory(settings):
    """Jobs in memory, and so long between two full re-checks that a test sees none."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_RECHECK_INTERVAL = 60


@pytest.fixture
async def hub():
    """The hub of the test's event loop; what it heals is counted from zero."""
    metrics.PUSHES_HEALED.reset()
    metrics.ROLLBACKS.reset()
    hub = get_hub()
    yield hub
    await hub.lifetime.stop_and_wait()


@pytest.fixture(params=LAYERS)
def layer(request, settings, redis_server):
    """A channel layer that reaches other processes."""
    backend, options = LAYERS[request.param]
    hosts = {"hosts": [{"address": redis_server.url, **options}]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": hosts}}
    return shared_layer()


async def joined(hub, *jobs):
    """Wait until pushes for the jobs are heard, and the check that follows each join has been made."""
    await until(lambda: all(hub.subscription.joined.get(job.job_id) for job in jobs))
    await until(
        lambda: all(not hub.recheck._is_doubtful(hub.table.jobs[job.job_id], hub.subscription.joined) for job in jobs)
    )


def elsewhere(call):
    """Run `call` as another process would: in a thread that no local receiver hears of."""
    there, receivers._current = receivers._current, ()
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    receivers._current = there


def send_elsewhere(job):
    def send():
        broadcaster = Broadcaster()
        broadcaster.send(job)
        broadcaster.close()

    elsewhere(send)
