"""The places that the stores are tested on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from immortus_channels.jobs.job import Job
from immortus_channels.models import JobRecord
from immortus_channels.stores.base import Store
from immortus_channels.stores.sqlite import migration, place
from immortus_channels.stores.sqlite.store import SQLiteStore
from tests.servers import (
    ClusteredRedis,
    MariaServer,
    PgBouncer,
    PostgresServer,
    RedisServer,
    WatchedRedis,
    add_database,
)
from tests.stores.places import Place


@pytest.fixture(scope="session")
def unblocked(django_db_blocker) -> Iterator[None]:
    """Databases of our own may be used; pytest-django only guards the project's."""
    with django_db_blocker.unblock():
        yield


def migrated(alias: str, database: dict[str, Any]) -> Iterator[Place]:
    add_database(alias, database)
    call_command("migrate", "immortus_channels", database=alias, verbosity=0)
    yield Place(backend="database", options={"using": alias}, databases={alias: database})
    connections[alias].close()


@pytest.fixture(scope="session")
def sqlite_place(unblocked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    path: Path = tmp_path_factory.mktemp("sqlite") / "jobs.sqlite3"
    options = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", "timeout": 20}
    yield from migrated("sqlite", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options})


@pytest.fixture(scope="session")
def beside_place(unblocked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """As `startproject` leaves it: a file beside the database."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path_factory.mktemp("beside") / "db.sqlite3")}
    for found in migrated("beside", database):
        migration._make(connections["beside"])
        store = f"{SQLiteStore.__module__}.{SQLiteStore.__qualname__}"
        yield replace(found, backend=store, options={"database": "beside"})


@pytest.fixture(scope="session")
def postgres_place(unblocked, postgres: PostgresServer) -> Iterator[Place]:
    yield from migrated("postgres", postgres.database)


@pytest.fixture(scope="session")
def bouncer_place(unblocked, postgres: PostgresServer) -> Iterator[Place]:
    with PgBouncer(postgres) as bouncer:
        yield from migrated("bouncer", bouncer.database)


@pytest.fixture(scope="session")
def maria_place(unblocked) -> Iterator[Place]:
    with MariaServer() as server:
        yield from migrated("maria", server.database)


@pytest.fixture
def empty() -> Iterator[Callable[[Place], Place]]:
    """Gives a place with nothing in it: other keys, or a table without rows."""

    def emptied(place: Place) -> Place:
        for alias in place.databases:
            JobRecord.objects.using(alias).all().delete()
        return place

    return emptied


@pytest.fixture
def sqlite(sqlite_place: Place, empty) -> Place:
    return empty(sqlite_place)


@pytest.fixture
def beside(beside_place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(place, "is_inline", lambda: False)
    store = beside_place.open()
    JobRecord.objects.using(store.using).all().delete()
    yield beside_place
    assert JobRecord.objects.using("beside").count() == 0
    connections[store.using].close()


@pytest.fixture
def postgresql(postgres_place: Place, empty) -> Place:
    return empty(postgres_place)


@pytest.fixture
def pgbouncer(bouncer_place: Place, empty) -> Place:
    return empty(bouncer_place)


@pytest.fixture
def mariadb(maria_place: Place, empty) -> Place:
    return empty(maria_place)


@pytest.fixture
def redis(redis_server: RedisServer) -> Place:
    return Place(backend="redis", options={"url": redis_server.url, "prefix": uuid.uuid4().hex})


@pytest.fixture(scope="session")
def watched() -> Iterator[WatchedRedis]:
    with WatchedRedis() as servers:
        yield servers


@pytest.fixture(scope="session")
def clustered() -> Iterator[ClusteredRedis]:
    with ClusteredRedis() as servers:
        yield servers


@pytest.fixture
def sentinel(watched: WatchedRedis) -> Place:
    return Place(backend="redis", options={**watched.options, "prefix": uuid.uuid4().hex})


@pytest.fixture
def cluster(clustered: ClusteredRedis) -> Place:
    return Place(backend="redis", options={**clustered.options, "prefix": uuid.uuid4().hex})


@pytest.fixture
def memory() -> Place:
    return Place(backend="memory")


@pytest.fixture
def opened() -> Iterator[Callable[[Place], Store]]:
    """Opens a store and closes it after the test."""
    stores: list[Store] = []

    def open_it(place: Place) -> Store:
        stores.append(place.open())
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def put() -> Callable[..., Job]:
    """Writes a job into a store as it stands; times given are seconds from now."""

    def put_it(store: Store, job_id: str = "a", **fields: Any) -> Job:
        def change(job: Job | None, now: int) -> Job:
            for name in ("lease_until", "finished_at"):
                if fields.get(name) is not None:
                    fields[name] = now + int(fields[name] * 1_000_000)
            version = max((job.version if job else 0) + 1, now)
            return replace(job or Job(job_id=job_id), **{"version": version, **fields})

        _, after = store.update(job_id, change)
        assert after is not None
        return after

    return put_it
