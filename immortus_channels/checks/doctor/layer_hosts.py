"""A test of each host of a channel layer alone: a failed host shows only in the jobs whose groups it has."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from immortus_channels.checks.finding import without_passwords
from immortus_channels.conf import settings

GROUPS = 8
"""Groups to try on each host: a node of a Redis Cluster takes some of any and refuses the others."""
_AGAIN = 0.2
"""Seconds until a message is sent again: the first one may come before the subscription is confirmed."""


def ask_hosts(seconds: float) -> dict[str, Exception | None]:
    """Send messages through each of the layer's hosts and wait for them, all at once, for `seconds`.

    Return the error of each host, None if it delivers. Its name is its place among the others, and its address without
    a password. There are none unless the layer has a list of hosts, as those of channels_redis and channels_valkey do.
    """
    layer = getattr(django_settings, "CHANNEL_LAYERS", {}).get(settings.CHANNEL_LAYER, {})
    config = layer.get("CONFIG", {})
    hosts = config.get("hosts") if isinstance(config, Mapping) else None
    if not isinstance(hosts, Sequence) or isinstance(hosts, str):
        return {}
    return asyncio.run(_ask_all(import_string(layer["BACKEND"]), config, hosts, seconds))


async def _ask_all(
    backend: Any, config: Mapping[str, Any], hosts: Sequence[Any], seconds: float
) -> dict[str, Exception | None]:
    layers = [backend(**{**config, "hosts": [host]}) for host in hosts]
    errors = await asyncio.gather(*(_error_of(layer, seconds) for layer in layers))
    names = [f"host {number} of {len(hosts)}, {_address(host)}" for number, host in enumerate(hosts, 1)]
    return dict(zip(names, errors, strict=True))


async def _error_of(layer: Any, seconds: float) -> Exception | None:
    try:
        async with asyncio.timeout(seconds):
            channel = await layer.new_channel()
            for _ in range(GROUPS):
                await _send_and_hear(layer, channel)
    except Exception as error:  # noqa: BLE001 - a layer may raise anything, and the answer says what
        return error
    return None


async def _send_and_hear(layer: Any, channel: str) -> None:
    group = f"immortus.doctor.{uuid.uuid4().hex}"
    await layer.group_add(group, channel)
    hearing = asyncio.ensure_future(_hear(layer, channel, group))
    try:
        while not hearing.done():
            await layer.group_send(group, {"type": "immortus.doctor", "group": group})
            await asyncio.wait({hearing}, timeout=_AGAIN)
        hearing.result()
    finally:
        hearing.cancel()
    await layer.group_discard(group, channel)


async def _hear(layer: Any, channel: str, group: str) -> None:
    while (await layer.receive(channel)).get("group") != group:
        pass


def _address(host: Any) -> str:
    match without_passwords(host):
        case {"address": address}:
            return str(address)
        case {"host": name, **rest}:
            return f"{name}:{rest.get('port', 6379)}"
        case {"master_name": master}:
            return f"the master {master!r} by Sentinel"
        case [name, port]:
            return f"{name}:{port}"
        case address:
            return str(address)
