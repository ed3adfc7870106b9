"""A claimed thread waits for nothing longer than it may, whatever stands between it and the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import Error, connections, transaction

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.models import JobRecord
from immortus_channels.stores import claimed, sql
from immortus_channels.stores.database import DatabaseStore
from tests.servers import PgBouncer, PostgresServer, add_database, forget_database
from tests.site import eventually

POOLERS = {
    "options refused": (),
    "options dropped": ("ignore_startup_parameters = options",),
    "options dropped, one server": ("ignore_startup_parameters = options", "default_pool_size = 1"),
    "a pool of sessions": ("ignore_startup_parameters = options", "pool_mode = session"),
}


@pytest.fixture
def claim(request: pytest.FixtureRequest) -> Callable[[str], DatabaseStore]:
    """Claims the test's own thread for a store on this alias."""

    def claim(alias: str) -> DatabaseStore:
        store = DatabaseStore(alias)
        store.claim_thread()
        request.addfinalizer(store.release_thread)
        return store

    return claim


@contextmanager
def pooled(postgres: PostgresServer, kind: str) -> Iterator[PgBouncer]:
    """A pooler of this kind, under the alias `pooled`."""
    with PgBouncer(postgres, *POOLERS[kind]) as bouncer:
        add_database("pooled", bouncer.database)
        try:
            yield bouncer
        finally:
            forget_database("pooled")


@pytest.fixture(params=POOLERS)
def bouncer(request, postgresql, postgres: PostgresServer) -> Iterator[PgBouncer]:
    with pooled(postgres, request.param) as bouncer:
        yield bouncer


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", *POOLERS])
def on_any(request, claim) -> Iterator[DatabaseStore]:
    """A claimed store on each database, and through each pooler."""
    if request.param not in POOLERS:
        yield claim(request.getfixturevalue(request.param).options["using"])
        return
    request.getfixturevalue("postgresql")
    with pooled(request.getfixturevalue("postgres"), request.param):
        yield claim("pooled")


def shown(connection: Any, *names: str) -> list[str]:
    settings = []
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"SHOW {name}")
            settings += cursor.fetchone()
    return settings


def limits(store: DatabaseStore) -> list[Any]:
    with store._connected() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        return list(cursor.fetchone())


@contextmanager
def locked(alias: str) -> Iterator[None]:
    """Somebody else has changed every job, and does not commit."""
    directly = {"pooled": "postgres"}.get(alias, alias)
    with transaction.atomic(using=directly):
        JobRecord.objects.using(directly).update(lease_holder="other")
        yield
        transaction.set_rollback(True, using=directly)


# Every database


def test_a_lock_is_not_waited_for_longer_than_the_timeout(on_any, put, monkeypatch):
    monkeypatch.setattr(claimed.ClaimedSQLite, "OPTIONS", {"timeout": 1})
    on_any.claim_thread()
    put(on_any)
    with locked(on_any.using):
        for attempt in range(2):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                put(on_any, message="new")
            assert 0.4 < time.monotonic() - began < 2.3, attempt
    put(on_any, message="new")


def test_a_lease_in_a_locked_row_is_not_waited_for_either(on_any, put, monkeypatch):
    monkeypatch.setattr(claimed.ClaimedSQLite, "OPTIONS", {"timeout": 1})
    on_any.claim_thread()
    put(on_any, lease_until=-1, lease_holder="run")
    with locked(on_any.using):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            on_any.renew({"a": "run"}, 60)
        assert time.monotonic() - began < 2.3
    on_any.renew({"a": "run"}, 60)


def test_a_conflict_leaves_the_connection_as_it_was(on_any, put):
    put(on_any)
    with on_any._connected() as own:
        raw = own.connection
    assert on_any._replace(None, Job(job_id="a", version=1), None).jobs.keys() == {"a"}
    put(on_any, message="new")
    assert own.connection is raw
    assert not own.in_atomic_block


def test_what_fails_in_another_way_leaves_nothing_open(on_any, put):
    with pytest.raises(StoreUnavailable), on_any._connected() as own:
        sql._execute(own, "nonsense", [])
    assert own.connection is None
    put(on_any, message="new")


def test_who_is_locked_is_told_at_once(on_any, put, monkeypatch):
    put(on_any)
    with locked(on_any.using):
        began = time.monotonic()
        told = on_any.locked(["a", "unknown"])
        assert time.monotonic() - began < 0.3
    assert list(told) == ([] if on_any.using == "sqlite" else ["a"])
    assert not on_any.locked(["a", "unknown"])
    assert not on_any.locked([])


# PostgreSQL


def test_the_session_has_the_limits_and_what_the_user_asked_for(postgresql, postgres: PostgresServer, claim, put):
    options = {"options": "-c application_name=mine", "pool": True}
    add_database("asked", {**postgres.database, "OPTIONS": options})
    store = claim("asked")
    with store._connected() as connection:
        assert shown(connection, "statement_timeout", "lock_timeout", "application_name") == ["2s", "500ms", "mine"]
    assert options == {"options": "-c application_name=mine", "pool": True}
    forget_database("asked")  # whose pool nobody has the package for
    statements = []
    with connection.execute_wrapper(lambda execute, said, *rest: statements.append(said) or execute(said, *rest)):
        put(store)
    assert [said.split()[0] for said in statements] == ["SELECT", "WITH"]


def test_a_limit_that_a_pooler_drops_is_set_for_each_transaction(bouncer, claim, put):
    store = claim("pooled")
    assert limits(store) == ["2s", "500ms"]
    put(store, message="new")
    assert limits(store) == ["2s", "500ms"]


def test_nobody_else_in_the_pool_is_limited(bouncer, claim, put):
    store = claim("pooled")
    put(store)
    with pytest.raises(StoreUnavailable), store._connected() as own:
        sql._execute(own, "nonsense", [])
    if "session" not in (bouncer.directory / "pgbouncer.ini").read_text():
        with connections["pooled"].cursor():
            assert shown(connections["pooled"], "statement_timeout", "lock_timeout") == ["0", "0"]
    store.release_thread()
    assert shown(connections["pooled"], "statement_timeout", "lock_timeout") == ["0", "0"]


@pytest.fixture
def of_role(request) -> Callable[[str, str], None]:
    """Gives the role a setting for the test."""

    def alter(setting: str) -> None:
        with connections["postgres"].cursor() as cursor:
            cursor.execute(f"ALTER ROLE postgres {setting}")

    def give(name: str, value: str) -> None:
        alter(f"SET {name} = '{value}'")
        request.addfinalizer(lambda: alter(f"RESET {name}"))

    return give


def test_a_role_with_limits_of_its_own_is_held_to_ours(bouncer, claim, of_role):
    of_role("statement_timeout", "30s")
    assert limits(claim("pooled")) == ["2s", "500ms"]


def test_a_role_that_has_our_limits_needs_no_transaction(bouncer, claim, of_role, put):
    of_role("statement_timeout", "2s")
    of_role("lock_timeout", "500ms")
    store = claim("pooled")
    with store._connected() as own:
        pass
    assert limits(store) == ["2s", "500ms"]
    statements = []
    with own.execute_wrapper(lambda execute, said, *rest: statements.append(said) or execute(said, *rest)):
        put(store)
    assert [said.split()[0] for said in statements] == ["SELECT", "WITH"]


def test_a_pooler_that_went_away_and_came_back_is_limited_again(bouncer, claim, put):
    store = claim("pooled")
    put(store)
    bouncer.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.get_many(["a"])
    bouncer.start()
    assert limits(store) == ["2s", "500ms"]


def test_a_server_that_cannot_be_reached_is_asked_once(postgresql, claim, monkeypatch):
    store = claim("postgres")
    own = store._own[next(iter(store._own))]
    tried = []

    def refused(_self, _params):
        tried.append(1)
        raise own.Database.OperationalError("connection refused")  # noqa: EM101, TRY003

    monkeypatch.setattr(type(connections["postgres"]), "get_new_connection", refused)
    with pytest.raises(StoreUnavailable, match="connection refused"):
        store.get_many(["a"])
    assert tried == [1]


# MariaDB


def test_the_server_of_a_claimed_connection_gives_up_as_well(mariadb, claim, put, monkeypatch):
    monkeypatch.setattr(claimed, "TIMEOUT", 1)
    monkeypatch.setattr(claimed.ClaimedMySQL, "OPTIONS", {**claimed.ClaimedMySQL.OPTIONS, "read_timeout": 1})
    store = claim("maria")
    put(store)
    with locked("maria"):
        with pytest.raises(StoreUnavailable):
            put(store, message="new")
        eventually(lambda: not waiting_statements(), within=20, every=0.2)
    with store._connected() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_lock_wait_timeout, @@max_statement_time, @@character_set_connection")
        assert cursor.fetchone() == (1, 1.0, "utf8mb4")


def waiting_statements() -> int:
    """How many there are; InnoDB counts anew only where nobody has asked for a tenth of a second."""
    with connections["maria"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
        return int(cursor.fetchone()[0])


def test_a_claimed_connection_writes_any_character_whatever_charset_is_set(mariadb, maria_place, claim, put):
    add_database("narrow", {**maria_place.databases["maria"], "OPTIONS": {"charset": "latin1"}})
    store = claim("narrow")
    put(store, message="\N{PARTY POPPER}")
    assert store.get_many(["a"]).jobs["a"].message == "\N{PARTY POPPER}"


def test_a_database_of_another_kind_is_left_as_it_is():
    assert claimed.Claimed.OPTIONS == {}
    with pytest.raises(Error), claimed.Claimed.limited(None):  # type: ignore[arg-type]
        raise Error
