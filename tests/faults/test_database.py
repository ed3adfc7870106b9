"""PostgreSQL dies, hangs and rolls back: what was said is written later, and pages show only what is on record."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.core.management import call_command
from django.db import connections, transaction

from immortus_channels.jobs.events import Event, Finished, Origin, Report, Reported, Started
from immortus_channels.push import receivers
from immortus_channels.push.messages import Push
from immortus_channels.stores import get_store
from immortus_channels.stores.sql import TABLE
from immortus_channels.testing import History
from immortus_channels.websocket.hub.reads import AuthorizedReads
from immortus_channels.websocket.hub.threads import Readers
from immortus_channels.writer import Write
from immortus_channels.writer.run import Run
from immortus_channels.writer.thread import Writer
from tests.faults.world import SOON, Viewer
from tests.pages import Process, until
from tests.servers import MariaServer, PgBouncer, PostgresServer, add_database
from tests.site import Site, running_site
from tests.toys import eventually

pytestmark = pytest.mark.postgresql

ALIAS = "faulty"
BRIEF = 1.0


@pytest.fixture(scope="module")
def postgres(django_db_blocker) -> Iterator[PostgresServer]:
    """A PostgreSQL that may be harmed, with the table of jobs."""
    with PostgresServer() as server, django_db_blocker.unblock():
        add_database(ALIAS, server.database)
        call_command("migrate", "immortus_channels", database=ALIAS, verbosity=0)
        yield server
        connections[ALIAS].close()


@pytest.fixture
def on_record(postgres, settings, quick) -> PostgresServer:
    settings.IMMORTUS_STORE = {"BACKEND": "database", "OPTIONS": {"using": ALIAS}}
    settings.IMMORTUS_STALLED_AFTER = 600  # no run renews its lease here
    connections[ALIAS].close()
    if not postgres.is_running:  # another test has failed in the middle
        postgres.start()
    return postgres


@pytest.fixture
def writer() -> Iterator[Writer]:
    """The writer of a worker, with its thread."""
    writer = Writer()
    yield writer
    writer.stop()


@contextmanager
def another_client(server: PostgresServer) -> Iterator[psycopg.Connection]:
    """A connection that Django knows nothing of."""
    told = server.database
    with psycopg.connect(dbname="postgres", user="postgres", host=told["HOST"], port=told["PORT"]) as connection:
        yield connection


@contextmanager
def locked(server: PostgresServer) -> Iterator[None]:
    """Nobody can read or write jobs meanwhile: every query hangs."""
    with another_client(server) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def locked_record(alias: str, job_id: str) -> Iterator[None]:
    """One job's row is another session's meanwhile: it can be read, and every write of it hangs."""
    connection = connections.create_connection(alias)
    connection.set_autocommit(False)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {TABLE} WHERE job_id = %s FOR UPDATE", (job_id,))
        yield
    finally:
        connection.rollback()
        connection.close()


class Worker:
    """One job, told of through a real writer."""

    def __init__(self, writer: Writer, history: History) -> None:
        self.job_id = Process().job_id
        self._writer, self._history = writer, history

    def submit(self, kind: type[Event], **fields: Any) -> Write:
        """Say it, and take down what was written if it was written at once."""
        origin = Origin(send_id=self.job_id)
        write = self._writer.submit(
            kind(job_id=self.job_id, job_class="shop.paint", run_id=self.job_id, origin=origin, **fields)
        )
        if write.is_known:
            self.note(write)
        return write

    def note(self, write: Write) -> None:
        assert write.after is not None
        self._history.wrote(json.loads(write.after.text))

    async def finished(self) -> None:
        """Say so, and take it down once it is written: just after an outage that may take a while."""
        write = self.submit(Finished)
        if not write.is_known:
            await until(write.done.is_set, within=SOON)
            self.note(write)

    def reported(self, current: int) -> Write:
        return self.submit(Reported, report=Report(step=1, current=current, total=10))


@pytest.fixture
def worker(writer: Writer, history: History) -> Worker:
    return Worker(writer, history)


def readers() -> int:
    return sum(thread.name == "immortus-reader" for thread in threading.enumerate())


@pytest.mark.fault("E1")
@pytest.mark.parametrize("seconds", [1.5, pytest.param(30, marks=pytest.mark.soak)])
async def test_while_the_database_is_down_events_are_kept_and_readers_wait(on_record, hub, worker, history, seconds):
    page, late = Viewer(history), Viewer(history, "bob")
    worker.submit(Started)
    await hub.watch(page, worker.job_id)
    on_record.kill()
    began = time.monotonic()
    write = worker.reported(7)
    assert time.monotonic() - began < BRIEF
    asking = [asyncio.create_task(hub.watch(late, worker.job_id)) for _ in range(20)]
    await asyncio.sleep(seconds)
    assert not write.done.is_set()
    assert len(page.frames) == 1, "the last known state, and no error"
    assert not late.frames
    assert readers() <= Readers.THREADS + 1, "and one for strategies"
    on_record.start()
    await until(write.done.is_set, within=SOON)
    worker.note(write)
    await asyncio.wait_for(asyncio.gather(*asking), AuthorizedReads.BACKOFF[1] * 1.5 + SOON)
    await worker.finished()
    await until(lambda: page.over and late.over, within=SOON)
    history.check()


@pytest.mark.fault("E2")
async def test_while_a_query_hangs_nobody_else_waits(on_record, hub, worker, history):
    page, late = Viewer(history), Viewer(history, "bob")
    worker.submit(Started)
    await hub.watch(page, worker.job_id)
    with locked(on_record):
        asking = [asyncio.create_task(hub.watch(late, worker.job_id)) for _ in range(20)]
        assert await longest_pause(1) < 0.3
        assert readers() <= Readers.THREADS + 1, "and one for strategies"
        assert not late.frames
    await asyncio.wait_for(asyncio.gather(*asking), AuthorizedReads.BACKOFF[1] * 1.5 + SOON)
    await worker.finished()
    await until(lambda: page.over and late.over, within=SOON)
    history.check()


async def longest_pause(seconds: float) -> float:
    """For how long, at most, the event loop did nothing else."""
    longest, end = 0.0, time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - before - 0.01)
    return longest


@pytest.mark.fault("E2", twin=True)
async def test_a_query_in_the_event_loop_would_freeze_everybody(on_record, hub, worker, history, monkeypatch):
    async def in_the_loop(self, function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        finally:
            connections[ALIAS].close()

    worker.submit(Started)
    monkeypatch.setattr(Readers, "run", in_the_loop)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    locking = locked(on_record)
    locking.__enter__()
    unlocking = threading.Timer(1, locking.__exit__, (None, None, None))
    unlocking.start()
    watching = asyncio.create_task(hub.watch(Viewer(history), worker.job_id))
    assert await longest_pause(0.5) > 0.5
    await watching
    unlocking.join()


@pytest.mark.fault("E3")
def test_a_push_is_on_record_already_and_a_rollback_takes_nothing_back(on_record, worker):
    seen = []

    def receive(push: Push) -> None:
        with another_client(on_record) as connection:
            row = connection.execute(f"SELECT version FROM {TABLE} WHERE job_id = %s", [push.job_id]).fetchone()
        seen.append((push.version, *(row or ())))

    receiver = types.SimpleNamespace(receive=receive)
    receivers.add(receiver)
    try:
        with transaction.atomic(using=ALIAS):
            worker.submit(Started)
            worker.reported(3)
            transaction.set_rollback(True, using=ALIAS)
        worker.submit(Finished)
        assert eventually(lambda: len(seen) == 3)
    finally:
        receivers.remove(receiver)
    assert all(pushed == recorded for pushed, recorded in seen)
    assert get_store().get_many([worker.job_id]).jobs[worker.job_id].version == seen[-1][0]


@contextmanager
def site_on(server: PostgresServer, var: Path, **more: str) -> Iterator[Site]:
    with running_site(var, POSTGRES=json.dumps(server.database), **more) as site:
        yield site


async def poll_all_at_once(site: Site, server: PostgresServer, pages: int, *, patience: float) -> Counter[int]:
    """What so many pages are answered that ask while the database is slow: until the first answer, or for so long."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=site.url, limits=limits, timeout=60) as client:
        with locked(server):
            asking = [asyncio.create_task(client.get(f"/immortus/verify/unknown-{n}")) for n in range(pages)]
            await asyncio.wait(asking, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        answers = await asyncio.gather(*asking)
    return Counter(answer.status_code for answer in answers)


@pytest.mark.fault("E4")
@pytest.mark.slow
async def test_hundreds_who_poll_at_once_are_all_answered_by_a_few_connections(postgres, tmp_path):
    with site_on(postgres, tmp_path) as site:
        assert await poll_all_at_once(site, postgres, 400, patience=1.5) == {404: 400}
        assert "503" not in site.processes[0].output


@pytest.mark.fault("E4", twin=True)
@pytest.mark.slow
async def test_without_turns_the_database_runs_out_of_connections(postgres, tmp_path):
    with site_on(postgres, tmp_path, SETTINGS='{"IMMORTUS_LIMITS": {"requests_in_parallel": 1000}}') as site:
        assert (await poll_all_at_once(site, postgres, 400, patience=30))[503] > 0


@pytest.fixture(scope="module")
def maria(django_db_blocker) -> Iterator[str]:
    """The alias of a MariaDB with the table of jobs."""
    with MariaServer() as server, django_db_blocker.unblock():
        add_database("faulty-maria", server.database)
        call_command("migrate", "immortus_channels", database="faulty-maria", verbosity=0)
        yield "faulty-maria"
        connections["faulty-maria"].close()


@pytest.fixture(params=["postgresql", "pgbouncer that refuses options", "pgbouncer that drops options", "mariadb"])
def database(request, on_record, settings) -> Iterator[str]:
    """The alias of the database itself, while the store may be on one that leads to it by way of a pooler."""
    if request.param == "postgresql":
        yield ALIAS
    elif request.param == "mariadb":
        yield (alias := request.getfixturevalue("maria"))
        connections[alias].close()
    else:
        ignored = () if "refuses" in request.param else ("ignore_startup_parameters = options",)
        with PgBouncer(on_record, *ignored) as bouncer:
            add_database("pooled", bouncer.database)
            settings.IMMORTUS_STORE = {"BACKEND": "database", "OPTIONS": {"using": "pooled"}}
            yield ALIAS
            connections["pooled"].close()
            del connections["pooled"]


@pytest.fixture
def short_leases(database, settings) -> str:
    if database != ALIAS:
        settings.IMMORTUS_STORE = {"BACKEND": "database", "OPTIONS": {"using": database}}
    settings.IMMORTUS_STALLED_AFTER = 6.0
    return database


@pytest.mark.fault("E5")
@pytest.mark.slow
def test_a_record_that_somebody_else_has_locked_holds_up_no_other_job(short_leases, writer):
    history = History()
    locked_job, silent, third = (Worker(writer, history) for _ in range(3))
    runs = running(writer, locked_job, silent)
    with locked_record(short_leases, locked_job.job_id):
        end = locked_job.submit(Finished)
        assert not end.is_known
        assert eventually(lambda: third.submit(Started).is_known, 10)
        assert third.submit(Finished).is_known or eventually(lambda: _state(third) == "finished", 10)
        lease = _lease(silent)
        assert eventually(lambda: _lease(silent) > lease, 15), "who says nothing goes on to be alive"
        assert _state(locked_job) == "running"
    assert eventually(lambda: _state(locked_job) == "finished", 15)
    for run in runs:
        writer.detach(run)


@pytest.mark.fault("E5")
@pytest.mark.slow
def test_a_locked_record_costs_no_other_job_its_lease(short_leases, writer):
    workers = [Worker(writer, History()) for _ in range(20)]
    runs = running(writer, *workers)
    neighbours = [worker.job_id for worker in workers[1:]]
    with locked_record(short_leases, workers[0].job_id):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            reading = get_store().get_many(neighbours)
            assert all(job.lease_until > reading.now for job in reading.jobs.values())
            time.sleep(0.2)
    for run in runs:
        writer.detach(run)


def running(writer: Writer, *workers: Worker) -> list[Run]:
    """The runs of these jobs, which have started and say nothing more."""
    runs = [Run(job_id=one.job_id, job_class="shop.paint", run_id=one.job_id, notify=writer.notify) for one in workers]
    for one, run in zip(workers, runs, strict=True):
        assert one.submit(Started).is_known
        writer.attach(run)
    return runs


def _state(worker: Worker) -> str:
    return str(get_store().get_many([worker.job_id]).jobs[worker.job_id].state)


def _lease(worker: Worker) -> int:
    return get_store().get_many([worker.job_id]).jobs[worker.job_id].lease_until or 0
