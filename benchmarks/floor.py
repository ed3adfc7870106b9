"""The floor: what Redis sends, broadcast to bare `websockets` connections. Run as `python -m benchmarks.floor`."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main(port: int, redis_url: str) -> None:
    """Serve `/ws/floor/<job>/` until ended."""
    watching: dict[str, set[ServerConnection]] = defaultdict(set)

    async def connected(connection: ServerConnection) -> None:
        assert connection.request is not None
        job = connection.request.path.split("/")[3]
        watching[job].add(connection)
        await connection.wait_closed()
        watching[job].discard(connection)

    async with Redis.from_url(redis_url) as redis, redis.pubsub() as channel:
        await channel.psubscribe("floor.*")
        async with serve(connected, "127.0.0.1", port, compression=None):
            async for message in channel.listen():
                if message["type"] == "pmessage":
                    job = message["channel"].decode().removeprefix("floor.")
                    broadcast(watching[job], message["data"].decode())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
