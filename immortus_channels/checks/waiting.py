"""Whether a channel layer loses messages by the way in which it waits for them.

The core layers of channels_redis and channels_valkey ask their server to answer when there is a message, or after
`brpop_timeout` seconds; and one queue of `capacity` messages is for all sockets of a process. A layer is recognised by
that, not by its class: subclasses and copies have the same faults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import getattr_static
from typing import Any

from django.core.checks import Warning  # noqa: A004 - Django's name

from immortus_channels.checks.finding import ID, Findings, path_of, without_passwords
from immortus_channels.checks.releases import release_of

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
_DEFAULT_CAPACITY = 100


def check_waiting(layer: Any) -> Findings:
    """Find a layer that waits in this way for longer than its client does, or keeps few messages."""
    blocking, listed, capacity = (getattr_static(layer, name, None) for name in ("brpop_timeout", "hosts", "capacity"))
    if not isinstance(blocking, int | float) or not isinstance(listed, Sequence):
        return
    hosts = [options_of(host) for host in listed]
    named = path_of(type(layer))
    other = named.replace(".core.", ".pubsub.").replace("ChannelLayer", "PubSubChannelLayer")
    pubsub = other if other != named and named.startswith("channels_") else PUBSUB
    timeouts = [_timeout_of(layer, index, host) for index, host in enumerate(hosts)]
    least = min((timeout for timeout in timeouts if timeout is not None), default=None)
    if least is not None and least <= blocking:
        patient = [{**host, "socket_timeout": 3 * blocking} for host in map(without_passwords, hosts)]
        yield Warning(
            f"The channel layer {named!r} waits {blocking} s for a message, and its client gives up after "
            f"socket_timeout={least:g} s (5 s by default since redis-py 8, and in valkey-py): "
            "listening fails after each such silence, and pushes are lost until it works again.",
            hint=f'Lengthen it for each host: "CONFIG": {{"hosts": {patient!r}, "capacity": 10000}}. Or use {pubsub}, '
            "which does not wait in this way.",
            id=f"{ID}.W003",
        )
    if isinstance(capacity, int) and capacity <= _DEFAULT_CAPACITY:
        yield Warning(
            f"The channel layer {named!r} has a capacity of {capacity} messages for all sockets of a "
            "process together, and silently drops what exceeds it.",
            hint=f'Add "capacity": 10000 to its CONFIG, or use {pubsub}, which has no such limit.',
            id=f"{ID}.W004",
        )


def options_of(host: Any) -> dict[str, Any]:
    """Return a host's options as these layers understand it: a dict, an address, or host and port."""
    match host:
        case Mapping():
            return dict(host)
        case [name, port]:
            return {"host": name, "port": port}
    return {"address": host}


def _timeout_of(layer: Any, index: int, host: Mapping[str, Any]) -> float | None:
    """Return the seconds after which the layer's client gives up an answer of this host; None for never."""
    in_address = re.search(r"[?&]socket_timeout=([\d.]+)", str(host.get("address", "")))
    if in_address:
        return float(in_address[1])
    if "socket_timeout" in host:
        own: float | None = host["socket_timeout"]
        return own
    if not hasattr(layer, "create_pool"):
        return None
    connection = layer.create_pool(index).make_connection()  # it connects to nothing yet
    if type(connection).__module__.partition(".")[0] == "redis":
        return 5.0 if release_of("redis") >= (8,) else None
    timeout: float | None = getattr(connection, "socket_timeout", None)
    return timeout
