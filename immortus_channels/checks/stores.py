"""Whether there is a store that serves every process."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings as django_settings
from django.core.checks import Error, Warning  # noqa: A004 - Django's name

from immortus_channels.checks.finding import ID, Findings, describe, jobs_run_elsewhere, without_passwords
from immortus_channels.conf import settings
from immortus_channels.stores import BACKENDS, get_store


def check_store() -> Findings:
    """Find a store that cannot be loaded, or that workers do not share."""
    try:
        store = get_store()
    except Exception as error:  # noqa: BLE001 - a store of the project's own may raise anything
        yield Error(
            f"IMMORTUS_STORE is {without_passwords(settings.STORE)!r}, which cannot be used: {describe(error)}",
            hint='For example {"BACKEND": "database"}, or {"BACKEND": "redis", "OPTIONS": {"url": "redis://…"}} after '
            "`pip install immortus-channels[redis]`.",
            id=f"{ID}.E004",
        )
        return
    options = _redis_options()
    if options is not None and {"url", "sentinels", "cluster_nodes"}.isdisjoint(options):
        # On a server, the default address, localhost, is seldom meant.
        yield Error(
            f"IMMORTUS_STORE is {without_passwords(settings.STORE)!r}, which does not say where its Redis is.",
            hint='Add "OPTIONS": {"url": "redis://…"}, or "sentinels" with "master_name", or "cluster_nodes".',
            id=f"{ID}.E004",
        )
    if not store.is_shared and jobs_run_elsewhere():
        yield Error(
            f"IMMORTUS_STORE is {without_passwords(settings.STORE)!r}, which every process has for itself: no page "
            "sees what workers report about their jobs.",
            hint='Use {"BACKEND": "database"} or "redis"; "memory" is for tests, and for queues that run jobs at once '
            "(CELERY_TASK_ALWAYS_EAGER).",
            id=f"{ID}.E005",
        )


def check_failover() -> Findings:
    """Find a store that does not follow a failover although other parts of the project do.

    Whether sentinels watch its Redis cannot be known from here.
    """
    options, followed = _redis_options(), _sentinel_setting()
    if options is None or followed is None or not {"sentinels", "cluster_nodes"}.isdisjoint(options):
        return
    yield Warning(
        f"IMMORTUS_STORE is a Redis at a fixed address, and {followed} asks Sentinel where its Redis is. After a "
        "failover there is no server at that address, or still the old master, which loses its writes, ends of "
        "jobs included, once it becomes a replica.",
        hint='If sentinels watch the store\'s Redis too: {"BACKEND": "redis", "OPTIONS": {"sentinels": [("10.0.0.1", '
        '26379), …], "master_name": "jobs"}} in place of "url", and `min-replicas-to-write 1` on each server.',
        id=f"{ID}.W019",
    )


def _redis_options() -> Mapping[str, object] | None:
    """Return the options of the Redis store; None if another kind of store keeps the jobs."""
    store: object = settings.STORE
    if not isinstance(store, Mapping) or store.get("BACKEND") not in ("redis", BACKENDS["redis"]):
        return None
    options = store.get("OPTIONS")
    return options if isinstance(options, Mapping) else {}


def _sentinel_setting() -> str | None:
    """Return a setting that leads to a Redis by way of Sentinel."""
    for alias, layer in getattr(django_settings, "CHANNEL_LAYERS", {}).items():
        hosts = layer.get("CONFIG", {}).get("hosts") or ()
        if any(isinstance(host, Mapping) and "sentinels" in host for host in hosts):
            return f"CHANNEL_LAYERS[{alias!r}]"
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if str(getattr(django_settings, name, "")).startswith("sentinel:"):
            return name
    return None
