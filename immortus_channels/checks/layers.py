"""Whether the channel layer reaches other processes, and keeps reaching them."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any
from urllib.parse import parse_qs, urlsplit

from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string

from immortus_channels.checks.finding import ID, Findings, describe, jobs_run_elsewhere, path_of
from immortus_channels.checks.waiting import PUBSUB, check_waiting, options_of
from immortus_channels.conf import settings

IN_MEMORY = "channels.layers.InMemoryChannelLayer"


def check_layer() -> Findings:
    """Find what keeps the channel layer from reaching other processes.

    None at all is fine: then servers re-check the store instead.
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
        hint = "For Redis: `pip install channels_redis`. Without CHANNEL_LAYERS pages re-check the store instead."
        yield _unusable(alias, f"is {named!r}, which cannot be imported: {describe(error)}", hint)
        return
    try:
        layer, is_bound = _make(backend, config)
    except Exception as error:  # noqa: BLE001 - likewise
        hint = f"See what {named} takes{_hint(backend, error)}."
        yield _unusable(alias, f"cannot be made from its CONFIG: {describe(error)}", hint)
        return
    if any(_decodes(host) for host in config.get("hosts") or ()):
        hint = "Leave decode_responses out of its hosts; in a URL any value turns it on, even false."
        yield _unusable(alias, "has decode_responses, so it cannot read any message: messages are bytes.", hint)
    if IN_MEMORY in map(path_of, type(layer).__mro__) and jobs_run_elsewhere():
        yield _in_memory(alias, named)
    if is_bound:
        yield _bound(alias, named)
    yield from check_waiting(layer)


def _unusable(alias: str, why: str, hint: str) -> CheckMessage:
    return Error(f"CHANNEL_LAYERS[{alias!r}] {why}", hint=hint, id=f"{ID}.E007")


def _make(backend: Any, config: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return the layer, which connects to nothing yet; and whether it needs a running event loop to be made."""
    try:
        return backend(**config), False
    except RuntimeError:
        return async_to_sync(_make_in_loop)(backend, config), True


async def _make_in_loop(backend: Any, config: Mapping[str, Any]) -> Any:
    return backend(**config)


def _decodes(host: Any) -> bool:
    """Return whether this host, as channels_redis takes one, answers in text; redis-py takes the option as it is."""
    options = options_of(host)
    in_address = parse_qs(urlsplit(str(options.get("address", ""))).query)
    return bool(options.get("decode_responses")) or "decode_responses" in in_address


def _hint(backend: Any, error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"; it needs {error} there"
    if callable(backend) and "hosts" in signature(backend).parameters:
        return "; its addresses are a list under the name 'hosts'"
    return ""


def _bound(alias: str, named: str) -> CheckMessage:
    return Warning(
        f"CHANNEL_LAYERS[{alias!r}] is {named!r}, which works only in the event loop that it was made in. Servers and "
        "workers make one in theirs; this check cannot know whether the workers' pushes arrive.",
        hint="Run `python manage.py immortus_doctor` while a worker runs, and silence this if it finds the layer ok. "
        f"Or use {PUBSUB}.",
        id=f"{ID}.W017",
    )


def _in_memory(alias: str, named: str) -> CheckMessage:
    return Warning(
        f"CHANNEL_LAYERS[{alias!r}] is {named!r}, which cannot reach other processes, and jobs run in other processes: "
        "workers cannot push changes. Pages learn of them when the server re-checks the store, four times a second.",
        hint=f'For pushes: {{"BACKEND": "{PUBSUB}", "CONFIG": {{"hosts": [{{"address": "redis://localhost:6379/0", '
        '"socket_connect_timeout": 1, "socket_timeout": 1}]}}. If re-checks are enough, remove it from CHANNEL_LAYERS.',
        id=f"{ID}.W002",
    )
