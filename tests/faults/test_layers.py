"""A layer on RabbitMQ, which shares one connection among its callers and works in one event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from immortus_channels import metrics
from immortus_channels.push.layer import shared_layer
from immortus_channels.testing import Faults, FaultyProxy
from immortus_channels.websocket.hub.probe import Probe
from tests.faults.world import SOON, Elsewhere, Told, Viewer
from tests.pages import Process, until
from tests.servers import RabbitServer, need_package

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("quick"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # channels_rabbitmq calls names of older Channels
]


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    need_package("channels_rabbitmq", "channels-rabbitmq")
    with RabbitServer() as server:
        yield server


@pytest.fixture
def rabbit(server: RabbitServer) -> Iterator[FaultyProxy]:
    """A way to RabbitMQ that can be cut."""
    with FaultyProxy(server.port, http=False) as proxy:
        yield proxy


@pytest.fixture
def layer(rabbit, settings, monkeypatch):
    monkeypatch.setattr(Probe, "INTERVAL", 1.0)
    host = f"amqp://guest:guest@127.0.0.1:{rabbit.port}"
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_rabbitmq.core.RabbitmqChannelLayer", "CONFIG": {"host": host}}
    }


@pytest.mark.fault("L1")
async def test_a_broker_that_is_away_ends_no_layer_and_pushes_are_heard_again(
    rabbit, layer, started_hub, history, settings
):
    hub = started_hub()
    with Elsewhere() as elsewhere:
        job, page = Told(history), Viewer(history)
        job.begun()
        await hub.watch(page, job.job_id)
        await until(lambda: hub.subscription.joined.get(job.job_id), within=10)
        rabbit.faults = Faults(refuse=True)
        rabbit.cut()
        for number in range(1, 11):
            others = Process()
            others.enqueued(push=False)
            await hub.watch(Viewer(history, f"viewer {number}"), others.job_id)
            await elsewhere.apush(last := job.reported(number))
            await asyncio.sleep(0.3)
        await until(lambda: page.shows(last), within=SOON)
        rabbit.faults = Faults()
        await until(lambda: hub.subscription.joined.get(job.job_id) and hub.subscription.is_hearing(), within=20)
        settings.IMMORTUS_RECHECK_INTERVAL = 60
        await asyncio.sleep(3)
        healed = metrics.PUSHES_HEALED.read()
        for number in range(11, 16):
            await elsewhere.apush(last := job.reported(number))
            await until(lambda last=last: page.shows(last), within=SOON)
        assert metrics.PUSHES_HEALED.read() == healed
        await elsewhere.apush(job.finished())
        await until(lambda: page.over, within=SOON)
        await hub.lifetime.stop_and_wait()
        await shared_layer().close()
