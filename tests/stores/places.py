"""Where the stores under test keep their jobs, told so that another process can open the same place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import django

from tests.servers import add_database


@dataclass(frozen=True, kw_only=True)
class Place:
    """What `IMMORTUS_STORE` would say, and the databases that Django must know for it."""

    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)
    databases: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def open(self) -> Any:
        """A new store."""
        from immortus_channels.stores import load_store  # noqa: PLC0415 - needs the app registry

        return load_store({"BACKEND": self.backend, "OPTIONS": self.options})


def count_up(place: Place, job_id: str, times: int) -> list[int]:
    """Add one to the job's count so often, in a process of its own; the versions that it made."""
    django.setup()
    for alias, database in place.databases.items():
        add_database(alias, database)
    store = place.open()
    store.claim_thread()
    try:
        return [one_more(store, job_id) for _ in range(times)]
    finally:
        store.release_thread()
        store.close()


def one_more(store: Any, job_id: str) -> int:
    """Add one to the job's count; its new version."""

    def change(job: Any, now: int) -> Any:
        return replace(job, current=job.current + 1, version=max(job.version + 1, now))

    _, after = store.update(job_id, change)
    return int(after.version)
