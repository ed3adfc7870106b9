"""Where jobs live: `get_store()` returns the store that `IMMORTUS_STORE` names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreNotFound
from immortus_channels.stores.base import Store

BACKENDS = {
    "database": "immortus_channels.stores.sqlite.store.database_store",
    "redis": "immortus_channels.stores.redis.RedisStore",
    "memory": "immortus_channels.stores.memory.MemoryStore",
}


@lru_cache(maxsize=1)
def get_store() -> Store:
    """Return the store of this process.

    Raises `StoreNotFound` when the setting names nothing that can be loaded.
    """
    return load_store(settings.STORE)


def forget_connections() -> None:
    """Make the store forget its parent's connections, if there is one; called in a child after fork."""
    if get_store.cache_info().currsize:
        get_store().close()


def load_store(config: Mapping[str, Any]) -> Store:
    """Return a new store, as `{"BACKEND": short name or dotted path, "OPTIONS": {…}}` describes it.

    Raises `StoreNotFound` for a mistake in that description.
    """
    described: object = config
    if not isinstance(described, Mapping) or described.keys() - {"BACKEND", "OPTIONS"}:
        msg = 'IMMORTUS_STORE must be a dict with only "BACKEND" and, if the store takes any, "OPTIONS".'
        raise StoreNotFound(msg)
    backend = config.get("BACKEND", "database")
    try:
        factory = import_string(BACKENDS.get(backend, backend))
        store: Store = factory(**config.get("OPTIONS", {}))
    except (ImportError, TypeError, ValueError) as error:
        allowed = ", ".join(map(repr, BACKENDS))
        msg = (
            f"IMMORTUS_STORE names the backend {backend!r}, which cannot be used ({error}); "
            f"use {allowed} or the dotted path of a Store."
        )
        raise StoreNotFound(msg) from error
    return store


def _forget(*, setting: str, **_: object) -> None:
    if setting == "IMMORTUS_STORE":
        get_store.cache_clear()


setting_changed.connect(_forget)
