"""A Redis Cluster of two nodes for tests: each has half of the slots, and refuses what belongs to the other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from tests.servers import RedisServer, free_port, wait_until

SLOTS = 16384


class ClusterNode(RedisServer):
    """One node, without slots before the cluster is made."""

    def __init__(self) -> None:
        super().__init__()
        self.bus_port = free_port()

    def _spawn(self) -> subprocess.Popen[bytes]:
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory))
        cluster = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port))
        return self._popen(self._binary, *where, "--save", "", *cluster)


@contextmanager
def redis_cluster() -> Iterator[list[ClusterNode]]:
    """Two nodes that know each other."""
    with ClusterNode() as one, ClusterNode() as other:
        nodes = [one, other]
        for node, first in zip(nodes, (0, SLOTS // 2), strict=True):
            with Redis.from_url(node.url) as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, first + SLOTS // 2 - 1)
        with Redis.from_url(one.url) as client:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
        wait_until(lambda: all(map(_is_whole, nodes)))
        yield nodes


def _is_whole(node: ClusterNode) -> bool:
    with Redis.from_url(node.url) as client:
        told = str(client.execute_command("CLUSTER", "INFO"))
    return all(re.search(fact, told) for fact in (r"cluster_state\W+ok", rf"cluster_slots_assigned\W+{SLOTS}\b"))
