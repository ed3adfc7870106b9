"""Closes the connections of a channel layer, so that it opens new ones: layers have no method for that.

Their `flush()` closes connections too, but makes all other consumers of the process deaf for good, and on the core
layers it deletes all messages. This module knows the layers of channels_redis and channels_valkey, by their attributes;
it leaves the connections of other layers alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


async def hang_up(layer: Any) -> None:
    """Close what `layer` has open on the running event loop: calls waiting there fail, and the layer connects again."""
    subscribed = list(_subscribed_connections(layer))
    for connection in (*subscribed, *_busy_connections(layer)):
        await connection.disconnect(nowait=True)
    for connection in subscribed:
        await _until_connected(connection)


def _subscribed_connections(layer: Any) -> Iterator[Any]:
    """Yield the connections on which a pubsub layer is subscribed."""
    for shard in _shards(layer):
        connection = getattr(getattr(shard, "_pubsub", None), "connection", None)
        if connection is not None:
            yield connection


def _busy_connections(layer: Any) -> Iterator[Any]:
    """Yield the connections with a call in progress."""
    clients = [getattr(shard, name, None) for shard in _shards(layer) for name in ("_redis", "_valkey")]
    with suppress(AttributeError, KeyError):
        clients += layer._layers[asyncio.get_running_loop()]._connections.values()  # noqa: SLF001
    for client in filter(None, clients):
        yield from tuple(getattr(client.connection_pool, "_in_use_connections", ()))


def _shards(layer: Any) -> Any:
    return getattr(layer, "_shards", ())


async def _until_connected(connection: Any) -> None:
    """Wait up to 3 s until the layer has reconnected by itself: reconnecting from here too would leak a socket."""
    for _ in range(30):
        if connection.is_connected:
            return
        await asyncio.sleep(0.1)
