"""Closes the connections of a channel layer, so that it opens new ones: layers have no name for that.

Their `flush()` closes connections too, but makes every other consumer of the process deaf for good, and on the core
layers it deletes everybody's messages. Known are the layers of channels_redis and channels_valkey, by their attributes;
of other layers nothing is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


async def hang_up(layer: Any) -> None:
    """Close what `layer` has open on the running event loop: what waits there fails, and is connected anew."""
    listening = list(_listening(layer))
    for connection in (*listening, *_asking(layer)):
        await connection.disconnect(nowait=True)
    for connection in listening:
        await _back(connection)


def _listening(layer: Any) -> Iterator[Any]:
    """The connections on which a pubsub layer is subscribed."""
    for shard in _shards(layer):
        connection = getattr(getattr(shard, "_pubsub", None), "connection", None)
        if connection is not None:
            yield connection


def _asking(layer: Any) -> Iterator[Any]:
    """The connections on which something is asked at this moment."""
    clients = [getattr(shard, name, None) for shard in _shards(layer) for name in ("_redis", "_valkey")]
    with suppress(AttributeError, KeyError):
        clients += layer._layers[asyncio.get_running_loop()]._connections.values()  # noqa: SLF001
    for client in filter(None, clients):
        yield from tuple(getattr(client.connection_pool, "_in_use_connections", ()))


def _shards(layer: Any) -> Any:
    return getattr(layer, "_shards", ())


async def _back(connection: Any) -> None:
    """Wait until the layer has reconnected by itself, for 3 s: a second one who does leaves a socket behind."""
    for _ in range(30):
        if connection.is_connected:
            return
        await asyncio.sleep(0.1)
