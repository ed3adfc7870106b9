"""How the Redis store connects: to one server, through Sentinel, or to a Redis Cluster.

Nothing connects before the first command, except that the client of a Cluster asks for the slots when it is opened.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, TypeAlias, cast

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import NoScriptError, ReadOnlyError, RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

Client: TypeAlias = "Redis[bytes]"
Options: TypeAlias = "Mapping[str, Any]"
Addresses: TypeAlias = "Sequence[tuple[str, int]]"

ERRORS = (RedisError, RedisClusterException)
"""What a client raises; the second is a kind of the first only in newer releases of redis-py."""
URL = "redis://localhost:6379/0"
_MOVED = re.compile(r"(?:MOVED |ASK )?\d+ (\S+):(\d+)")
"""What a node says of a key that another node has: redis-py 5 leaves the first word, and has no error of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where jobs are kept: one of `url`, `sentinels` with `master_name`, or `cluster_nodes`."""

    url: str | None = None
    sentinels: Addresses = ()
    master_name: str | None = None
    sentinel_kwargs: Options = field(default_factory=dict)
    cluster_nodes: Addresses = ()

    def __post_init__(self) -> None:
        """Raise ValueError if more than one is given, or only part of one."""
        if bool(self.sentinels) != bool(self.master_name):
            msg = "give sentinels and master_name together: where the sentinels are, and what they call the master"
            raise ValueError(msg)
        if sum(map(bool, (self.url, self.sentinels, self.cluster_nodes))) > 1:
            msg = "give one of url, sentinels and cluster_nodes: each says where the Redis is"
            raise ValueError(msg)
        _refuse_no_addresses("sentinels", self.sentinels)
        _refuse_no_addresses("cluster_nodes", self.cluster_nodes)

    def opener(self, options: Options) -> Callable[[], Client]:
        """Return a function that opens a client with these options of redis-py.

        Raises ValueError for an address that is not a URL and for an option that this store cannot work with, and
        TypeError for an option that redis-py does not have.
        """
        if self.sentinels:
            _refuse_unfit_options(Redis(**dict(self._for_sentinels(options))))
            _refuse_unfit_options(self._by_sentinel(options))
            return partial(self._by_sentinel, options)
        if self.cluster_nodes:
            _refuse_unfit_options(Redis(**dict(options)))
            return partial(self._by_cluster, options)
        _refuse_unfit_options(self._by_url(options))
        return partial(self._by_url, {**options, "single_connection_client": True})

    def _by_url(self, options: Options) -> Client:
        return cast("Client", Redis.from_url(self.url or URL, **options))

    def _by_sentinel(self, options: Options) -> Client:
        """Return a client whose connections begin by asking the sentinels where the master is."""
        sentinels = [(host, port) for host, port in self.sentinels]
        watch = Sentinel(sentinels, sentinel_kwargs=dict(self._for_sentinels(options)))
        return cast("Client", watch.master_for(self.master_name or "", **options))

    def _for_sentinels(self, options: Options) -> Options:
        """Return the options for the sentinels: a client waits no longer for a sentinel than for the master."""
        waits = ("socket_timeout", "socket_connect_timeout", "retry")
        return {**{name: options[name] for name in waits}, **self.sentinel_kwargs}

    def _by_cluster(self, options: Options) -> Client:
        """Return a client that finds the node with the slot of all keys, and finds it again after the slot moves.

        It has the commands of any other client. This store does not depend on other slots.
        """
        nodes = [ClusterNode(host, port) for host, port in self.cluster_nodes]
        return cast("Client", RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options))


class Clients:
    """The clients of a process: each command has one to itself, and those that are idle are used again.

    The client of a single server holds one connection for good. To take it out of redis-py's pool and put it back would
    cost a third of a short command.
    """

    def __init__(self, open_client: Callable[[], Client]) -> None:
        """Begin without any."""
        self._open = open_client
        self._idle: deque[Client] = deque()
        self._pid = os.getpid()

    @contextmanager
    def one(self) -> Iterator[Client]:
        """Yield a client; it is closed if the command fails, since what comes next on its connection is not known."""
        client = self._take()
        try:
            yield client
        except BaseException:
            client.close()
            raise
        self._idle.append(client)

    def _take(self) -> Client:
        if self._pid != os.getpid():
            self.close()
        try:
            client = self._idle.pop()
        except IndexError:
            return self._open()
        _check(client)
        return client

    def close(self) -> None:
        """Close those that are idle; a parent's are left to the parent."""
        idle, self._idle = self._idle, deque()
        is_parents, self._pid = self._pid != os.getpid(), os.getpid()
        for client in () if is_parents else idle:
            client.close()


def _check(client: Client) -> None:
    """Let the next command open the connection again if the server has closed it, or if something is left on it."""
    connection: Any = getattr(client, "connection", None)
    if connection is None:
        return
    try:
        is_ready = not connection.can_read()
    except ERRORS:
        is_ready = False
    if not is_ready:
        connection.disconnect()


def run_script(client: Client, script: str, keys: Sequence[str], arguments: Sequence[str]) -> Any:
    """Run a script by its hash, or send it if the server does not (or no longer) know it."""
    words = [text.encode() for text in (*keys, *arguments)]  # redis-py would take three times as long for each
    try:
        return client.execute_command("EVALSHA", _hash(script), len(keys), *words)
    except NoScriptError:
        return client.execute_command("EVAL", script, len(keys), *words)


@cache
def _hash(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _refuse_no_addresses(name: str, addresses: object) -> None:
    match addresses:
        case () | []:
            return
        case [*pairs] if all(_is_address(pair) for pair in pairs):
            return
    msg = f'{name} is {addresses!r}; give a list of hosts and ports: [("10.0.0.1", 26379), ("10.0.0.2", 26379)]'
    raise ValueError(msg)


def _is_address(address: object) -> bool:
    match address:
        case [str(), int()]:
            return True
    return False


def _refuse_unfit_options(client: Redis[Any]) -> None:
    """Make a connection without opening it: redis-py reports a bad option only when it makes its first connection."""
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)
    if pool.get_encoder().decode_responses:
        msg = (
            "decode_responses is on (any value in the url turns it on, false too): leave it out, jobs are read as bytes"
        )
        raise ValueError(msg)


def impatient(seconds: float) -> Options:
    """Return options with no retries and no wait longer than `seconds` at a time."""
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": min(seconds, 0.5),
        "retry": Retry(NoBackoff(), 0),
    }


def explain(error: Exception) -> str:
    """Return what went wrong, and what to do about it if the URL is the cause."""
    moved = _MOVED.fullmatch(str(error))
    if moved is not None:
        host, port = moved.groups()
        return (
            f"this is a node of a Redis Cluster, and another, {host}:{port}, has the jobs; give "
            f'"cluster_nodes": [("{host}", {port}), …] instead of a url'
        )
    if isinstance(error, ReadOnlyError):
        return f'{error}; give "sentinels" and "master_name", or the URL of the master'
    return str(error) or type(error).__name__
