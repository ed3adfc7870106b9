"""Modules of the package that the benchmarks use, wherever the measured build keeps them: this one or an older one."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

_HOMES = {
    "events": ("jobs.events", "events"),
    "messages": ("queues.messages",),
    "broadcaster": ("push.broadcaster", "broadcast"),
}
"""Names of modules, the newest first."""


def __getattr__(name: str) -> Any:
    for home in _HOMES.get(name, ()):
        with suppress(ModuleNotFoundError):
            return import_module(f"immortus_channels.{home}")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
