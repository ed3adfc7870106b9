"""What is peculiar to MariaDB: character sets that hold less than a text, and how it deletes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DataError, OperationalError, connections

from immortus_channels.jobs.events import Enqueued, Finished, Report, Started
from immortus_channels.jobs.job import Job, State
from immortus_channels.models import JobRecord
from immortus_channels.stores import sql
from immortus_channels.stores.base import Filter
from immortus_channels.stores.database import DatabaseStore
from immortus_channels.writer.write import Write, perform_with_fallback
from tests.servers import add_database, forget_database
from tests.stores.places import Place

TEXTS = ("\N{PARTY POPPER}", "naïve", "日本", "\N{PARTY POPPER} ", "?")
TABLE = JobRecord._meta.db_table


@pytest.fixture(params=["latin1", "utf8mb3", "ascii", "utf8mb4"])
def narrow(request, maria_place: Place) -> Iterator[str]:
    """The alias of a database that was made with this character set, without a table."""
    with connections["maria"].cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE DATABASE narrow CHARACTER SET {request.param}")
    add_database("narrow", {**maria_place.databases["maria"], "NAME": "narrow"})
    yield "narrow"
    forget_database("narrow")
    with connections["maria"].cursor() as cursor:
        cursor.execute("DROP DATABASE narrow")


def migrate(alias: str, *target: str) -> None:
    call_command("migrate", "immortus_channels", *target, database=alias, verbosity=0)


def execute(alias: str, statement: str) -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall() or ())


@pytest.fixture
def as_before(narrow: str) -> str:
    """The table as the first release made it: only its shorter columns are exact, and forgive spaces at the end."""
    migrate(narrow)
    migrate(narrow, "0001")
    (charset,) = execute(narrow, "SELECT @@character_set_database")[0]
    execute(narrow, f"ALTER TABLE {TABLE} CONVERT TO CHARACTER SET {charset}")
    for column in ("job_id", "job_class", "owner", "lease_holder"):
        null = "NULL" if column == "owner" else "NOT NULL"
        execute(narrow, f"ALTER TABLE {TABLE} MODIFY {column} varchar(255) COLLATE utf8mb4_bin {null}")
    return narrow


def holds_every_text(alias: str, put: Any) -> None:
    store = DatabaseStore(alias)
    written = [put(store, text, owner=text, job_class=text, message=text, result={text: text}) for text in TEXTS]
    assert store.get_many(TEXTS).jobs == {job.job_id: job for job in written}
    for text in TEXTS:
        assert [job.job_id for job in store.list(Filter(owner=text))] == [text]
    assert store.get_many([f"{text} " for text in ("naïve", "日本", "?")]).jobs == {}


def test_any_text_is_held_however_the_database_was_made(narrow, put):
    migrate(narrow)
    holds_every_text(narrow, put)


def test_every_column_names_its_character_set_without_the_last_migration(narrow, put):
    migrate(narrow, "0001")
    holds_every_text(narrow, put)


def test_a_table_of_an_earlier_release_is_converted_with_what_it_holds(as_before, put):
    store = DatabaseStore(as_before)
    known = [put(store, text, owner=text, message=text) for text in ("a", "B", "7")]
    migrate(as_before)
    assert store.get_many(["a", "B", "7"]).jobs == {job.job_id: job for job in known}
    holds_every_text(as_before, put)


def test_the_conversion_leaves_alone_what_is_right(narrow):
    migrate(narrow)
    made = "SELECT create_time FROM information_schema.tables WHERE table_schema = 'narrow' AND table_name = '{}'"
    before = execute(narrow, made.format(TABLE))
    migrate(narrow, "0001")
    time.sleep(1.1)
    migrate(narrow)
    assert execute(narrow, made.format(TABLE)) == before


@pytest.mark.parametrize("narrow", ["latin1", "utf8mb3", "ascii"], indirect=True)
def test_a_value_that_the_table_refuses_is_no_outage(as_before):
    store = DatabaseStore(as_before)
    with pytest.raises(DataError):
        store.update("a", lambda _job, now: Job(job_id="a", version=now, message="\N{PARTY POPPER}"))
    assert store.get_many(["a"]).jobs == {}


def test_a_job_whose_last_words_are_refused_is_finished_all_the_same(as_before, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "database", "OPTIONS": {"using": as_before}}
    for event in (
        Enqueued(job_id="a", job_class="paint"),
        Started(job_id="a", run_id="r"),
        Finished(job_id="a", run_id="r", report=Report(step=1, message="\N{PARTY POPPER}")),
    ):
        write = Write(event)
        perform_with_fallback(write)
    assert write.after is not None
    assert DatabaseStore(as_before).get_many(["a"]).jobs["a"].state is write.after.state is State.FINISHED


@pytest.mark.parametrize("number", [1264, 1265, 1300, 1366, 1406, 3988])
def test_what_each_driver_calls_differently_is_a_refused_value(mariadb, number):
    assert sql.refuses_value(connections["maria"], OperationalError(number, "Incorrect string value"))


@pytest.mark.parametrize("arguments", [(1205, "Lock wait timeout exceeded"), (2006, "Server has gone away"), ()])
def test_what_may_work_later_is_none(mariadb, arguments):
    assert not sql.refuses_value(connections["maria"], OperationalError(*arguments))


MANY, SOME = 20_000, 200


def test_pruning_reads_no_more_rows_than_it_deletes(mariadb, opened):
    store = opened(mariadb)
    execute(
        "maria",
        f"INSERT INTO {TABLE} (job_id, job_class, state, version, finished_at, lease_holder, record) "
        f"SELECT CAST(seq AS CHAR(36)), 'paint', 'finished', seq, seq, '', '' FROM seq_1_to_{MANY}",
    )
    before = rows_read()
    assert store.prune(60, limit=SOME) == SOME
    assert rows_read() - before < 10 * SOME
    assert execute("maria", f"SELECT MIN(version), COUNT(*) FROM {TABLE}") == [(SOME + 1, MANY - SOME)]


def rows_read() -> int:
    """By this session, so far."""
    return sum(int(number) for name, number in execute("maria", "SHOW SESSION STATUS LIKE 'Handler_read%'"))
