"""What the rows of the fault matrix share."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from immortus_channels.push.breaker import Breaker
from immortus_channels.push.layer import shared_layer
from immortus_channels.testing import FaultyChannelLayer, FaultyProxy, History
from immortus_channels.websocket.hub import Hub, get_hub
from immortus_channels.websocket.hub.recheck import Recheck
from tests.faults.world import QUICK, Elsewhere, layer_config
from tests.hubs import LAYERS, hub  # noqa: F401
from tests.project import settings as project
from tests.servers import RedisServer
from tests.site import Site


@pytest.fixture(scope="session")
def _victim() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(_victim: RedisServer) -> Iterator[RedisServer]:
    """A Redis that may be harmed in any way; whoever comes next gets it running and empty."""
    yield _victim
    if _victim.is_running:
        _victim.kill()
    _victim.start()


@pytest.fixture
def site(_site: Site, settings: Any) -> Site:
    """The site of the module, with the same settings here as there, so that this process can be a worker."""
    settings.SECRET_KEY = project.SECRET_KEY
    settings.IMMORTUS_STORE = json.loads(_site.env["STORE"])
    settings.CHANNEL_LAYERS = {"default": json.loads(_site.env["LAYER"])}
    return _site


@pytest.fixture
def proxy(site: Site) -> Iterator[FaultyProxy]:
    """A network before the site that can be told to misbehave."""
    with FaultyProxy(site.port) as proxy:
        yield proxy


@pytest.fixture
def history(request: pytest.FixtureRequest) -> History:
    return History(seed=request.node.name)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere


@pytest.fixture
def quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs in memory, re-checked often; a sender that failed tries again soon."""
    monkeypatch.setattr(Breaker, "REST", QUICK)
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_RECHECK_INTERVAL = QUICK


@pytest.fixture(params=LAYERS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each layer that comes with channels_redis."""
    return str(request.param)


@pytest.fixture
def use(settings: Any) -> Callable[[dict[str, Any]], Any]:
    """Takes an entry of CHANNEL_LAYERS and gives the layer."""

    def use_it(config: dict[str, Any]) -> Any:
        settings.CHANNEL_LAYERS = {"default": config}
        return shared_layer()

    return use_it


@pytest.fixture
async def started_hub() -> AsyncIterator[Callable[[], Hub]]:
    """Gives the hub of the test's event loop, for tests that choose its layer themselves."""
    yield get_hub
    await get_hub().lifetime.stop_and_wait()


@pytest.fixture
def layer(kind: str, redis: RedisServer, use: Any) -> Any:
    """A layer on the Redis that may be harmed."""
    return use(layer_config(kind, redis.url))


@pytest.fixture
def faulty(kind: str, redis_server: RedisServer, use: Any) -> FaultyChannelLayer:
    """A layer on a healthy Redis that can be told to misbehave."""
    inner = layer_config(kind, redis_server.url)
    path = "immortus_channels.testing.FaultyChannelLayer"
    layer = use({"BACKEND": path, "CONFIG": {"layer": inner, "seed": 7}})
    assert isinstance(layer, FaultyChannelLayer)
    return layer


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: nothing is ever re-checked."""
    monkeypatch.setattr(Recheck, "_due", lambda _: [])
