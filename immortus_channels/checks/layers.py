"""Whether the channel layer reaches other processes, and keeps reaching them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string

from immortus_channels.checks.finding import ID, Findings, jobs_run_elsewhere, path_of, told, without_passwords
from immortus_channels.checks.releases import release_of
from immortus_channels.conf import settings

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"


def check_layer() -> Findings:
    """Whether the channel layer reaches other processes, and keeps reaching them.

    None at all is fine: the store is re-checked instead.
    """
    layers, alias = getattr(django_settings, "CHANNEL_LAYERS", {}), settings.CHANNEL_LAYER
    if alias not in layers:
        if alias != "default":
            yield Error(
                f"IMMORTUS_CHANNEL_LAYER is {alias!r}, which is not in CHANNEL_LAYERS.",
                hint=f"CHANNEL_LAYERS has {', '.join(map(repr, layers)) or 'nothing'}.",
                id=f"{ID}.E007",
            )
        return
    named, config = layers[alias].get("BACKEND"), layers[alias].get("CONFIG", {})
    try:
        backend = import_string(named)
    except Exception as error:  # noqa: BLE001 - a third party's module may raise anything
        yield Error(
            f"CHANNEL_LAYERS[{alias!r}] is {named!r}, which cannot be imported: {told(error)}",
            hint="For Redis: `pip install channels_redis`. Without CHANNEL_LAYERS pages re-check the store instead.",
            id=f"{ID}.E007",
        )
        return
    try:
        backend(**config)  # which connects to nothing, as no layer does before it is used
    except Exception as error:  # noqa: BLE001 - likewise
        yield Error(
            f"CHANNEL_LAYERS[{alias!r}] cannot be made of its CONFIG: {told(error)}",
            hint=f"See what {named} takes; its addresses are a list under the name 'hosts'.",
            id=f"{ID}.E007",
        )
        return
    lineage = {path_of(kind) for kind in getattr(backend, "__mro__", ())}
    if IN_MEMORY in lineage and jobs_run_elsewhere():
        yield _in_memory(alias, named)
    if CORE in lineage:
        yield from _check_core_layer(backend, config)


def _in_memory(alias: str, named: str) -> CheckMessage:
    return Warning(
        f"CHANNEL_LAYERS[{alias!r}] is {named!r}, which cannot reach other processes, and jobs run in other processes: "
        "changes are not pushed. Pages learn of them when the server re-checks the store, four times a second.",
        hint=f'For pushes: {{"BACKEND": "{PUBSUB}", "CONFIG": {{"hosts": [{{"address": "redis://localhost:6379/0", '
        '"socket_connect_timeout": 1, "socket_timeout": 1}]}}. If re-checks are enough, remove it from CHANNEL_LAYERS.',
        id=f"{ID}.W002",
    )


def _check_core_layer(backend: Any, config: Mapping[str, Any]) -> Findings:
    hosts = [_as_options(host) for host in config.get("hosts") or ["redis://localhost:6379"]]
    blocking = getattr(backend, "brpop_timeout", 5)
    timeouts = [_timeout_of(host) for host in hosts]
    if any(timeout is not None and timeout <= blocking for timeout in timeouts):
        cured = [{**host, "socket_timeout": 3 * blocking} for host in map(without_passwords, hosts)]
        yield Warning(
            f"The channel layer {path_of(backend)!r} waits {blocking} s for a message, and redis-py gives up after "
            f"socket_timeout={min(t for t in timeouts if t is not None):g} s (5 s by default since redis-py 8): "
            "listening fails whenever nothing happens for so long, and pushes are lost until it works again.",
            hint=f'Give each host a longer one: "CONFIG": {{"hosts": {cured!r}, "capacity": 10000}}. Or use {PUBSUB}, '
            "which does not wait in this way.",
            id=f"{ID}.W003",
        )
    capacity = config.get("capacity", 100)
    if capacity <= 100:  # noqa: PLR2004 - the layer's own default
        yield Warning(
            f"The channel layer {path_of(backend)!r} has a capacity of {capacity} messages for all sockets of a "
            "process together, and drops what exceeds it without telling anyone.",
            hint=f'Add "capacity": 10000 to its CONFIG, or use {PUBSUB}, which has no such limit.',
            id=f"{ID}.W004",
        )


def _as_options(host: Any) -> dict[str, Any]:
    """A host as channels_redis understands it: a dict, an address, or host and port."""
    match host:
        case Mapping():
            return dict(host)
        case [name, port]:
            return {"host": name, "port": port}
    return {"address": host}


def _timeout_of(host: Mapping[str, Any]) -> float | None:
    """Seconds after which redis-py gives up an answer; None for never. Version 8 made 5 s the default."""
    in_address = re.search(r"[?&]socket_timeout=([\d.]+)", str(host.get("address", "")))
    if in_address:
        return float(in_address[1])
    default = 5.0 if release_of("redis") >= (8,) else None
    timeout: float | None = host.get("socket_timeout", default)
    return timeout
