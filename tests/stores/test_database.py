"""What is peculiar to the database store."""

from __future__ import annotations

import copy
import multiprocessing
import threading
from functools import cache

import pytest
from django.core.management import call_command
from django.db import DataError, Error, connections, transaction
from django.test.utils import CaptureQueriesContext

from immortus_channels.exceptions import StoreNotFound, StoreUnavailable
from immortus_channels.jobs.job import Job, State
from immortus_channels.models import JobRecord
from immortus_channels.stores import load_store, sql
from immortus_channels.stores.base import Filter
from immortus_channels.stores.database import DatabaseStore
from tests.servers import add_database, wait_until


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer", "mariadb"])
def store(request, opened):
    return opened(request.getfixturevalue(request.param))


@pytest.fixture
def on_sqlite(sqlite, opened):
    return opened(sqlite)


@pytest.fixture
def on_postgres(postgresql, opened):
    return opened(postgresql)


@pytest.fixture
def claimed(request):
    """Claims the test's own thread for a store."""

    def claim(store):
        store.claim_thread()
        request.addfinalizer(store.release_thread)
        return store

    return claim


def queries(store) -> CaptureQueriesContext:
    return CaptureQueriesContext(connections[store.using])


def blocked_backends() -> int:
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


def own_connection(store):
    with store._connected() as connection:
        return connection


def elsewhere(call) -> None:
    """Do something in another thread, with another connection, and wait for it."""

    def run():
        call()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


# Statements


def test_a_thousand_jobs_are_read_by_one_query(store, put):
    put(store, "job-1")
    ids = [f"job-{i}" for i in range(1000)]
    with queries(store) as seen:
        store.positions(ids)
        store.get_many(ids)
    assert len(seen) == 2


def test_an_update_is_one_read_and_one_write_and_no_transaction(store, put):
    put(store)
    with queries(store) as seen:
        put(store, message="new")
    read, write = (query["sql"] for query in seen)
    assert read.startswith("SELECT")
    assert "UPDATE" in write


def test_a_renewal_of_many_is_one_statement(store):
    with queries(store) as seen:
        store.renew({str(i): "run" for i in range(200)}, 10)
    assert len(seen) == 1


def test_nothing_leaves_a_transaction_open(on_postgres, put):
    put(on_postgres)
    on_postgres.list(Filter())
    on_postgres.prune(0)
    assert connections["postgres"].connection.info.transaction_status.name == "IDLE"


def test_the_model_has_no_change_without_a_migration(unblocked):
    call_command("makemigrations", "immortus_channels", check=True, dry_run=True, verbosity=0)


def test_every_state_has_a_name_and_a_job_reads_like_a_log_line():
    assert [value for value, _ in JobRecord._meta.get_field("state").choices] == list(State)
    assert str(JobRecord(job_id="1", job_class="shop.resize")) == "shop.resize 1"


@cache
def usual_records() -> list[JobRecord]:
    usual = {"job_class": "usual", "state": "finished", "owner": "bob", "lease_holder": "", "finished_at": 1}
    return [
        JobRecord(job_id=str(i), version=i, record=Job(job_id=str(i), version=i).to_record(), **usual)
        for i in range(4_000)
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(owner="ann"),
        Filter(job_class="rare"),
        Filter(states=[State.RUNNING]),
        Filter(states=[State.RUNNING, State.RETRYING, State.ENQUEUED]),
        Filter(overdue=True),
        Filter(overdue=True, owner="bob"),
        Filter(owner="ann", states=[State.FINISHED, State.FAILED]),
        Filter(owner="ann", job_class="usual"),
        Filter(job_class="rare", states=[State.FINISHED]),
        Filter(job_class="usual", states=[State.RUNNING]),
    ],
    ids=str,
)
def test_a_listing_does_not_read_the_whole_table(on_sqlite, put, wanted):
    JobRecord.objects.using("sqlite").bulk_create(usual_records())
    put(on_sqlite, "one", owner="ann", job_class="rare", state=State.RUNNING, version=1, lease_until=-1)
    steps = []
    raw = connections["sqlite"].connection
    raw.set_progress_handler(lambda: steps.append(1), 100)
    try:
        on_sqlite.list(wanted, limit=20)
        on_sqlite.list(wanted, limit=20, before=2_000)
    finally:
        raw.set_progress_handler(None, 0)
    assert len(steps) < 100


# The caller's transaction


@pytest.fixture
def broken() -> Job:
    """A job that no PostgreSQL row can hold."""
    return Job(job_id="a", version=1, job_class="x" * 300)


def test_a_failed_write_does_not_poison_the_callers_transaction(on_postgres, put, broken):
    with transaction.atomic(using="postgres"):
        put(on_postgres, "mine")
        with pytest.raises(DataError):
            on_postgres.update("a", lambda _job, _now: broken)
        assert on_postgres.get_many(["mine"]).jobs
    assert on_postgres.get_many(["mine"]).jobs


def test_a_write_inside_the_callers_transaction_goes_with_it(store, put):
    with transaction.atomic(using=store.using):
        put(store)
        transaction.set_rollback(True, using=store.using)
    assert store.get_many(["a"]).jobs == {}


def test_a_job_created_meanwhile_does_not_poison_the_caller_s_transaction(on_postgres, put):
    calls = []

    def change(job, now):
        calls.append(job)
        if job is None:
            elsewhere(lambda: put(on_postgres, message="other"))
        return job or Job(job_id="a", version=now)

    with transaction.atomic(using="postgres"):
        on_postgres.update("a", change)
        assert on_postgres.get_many(["a"]).jobs["a"].message == "other"
    assert len(calls) == 2


def test_only_sqlite_makes_writes_elsewhere_wait_for_the_open_transaction(on_sqlite, on_postgres):
    assert not on_sqlite.waits_for_caller()
    with transaction.atomic(using="sqlite"), transaction.atomic(using="postgres"):
        assert on_sqlite.waits_for_caller()
        assert not on_postgres.waits_for_caller()


# The claimed thread


def test_a_claimed_thread_has_a_connection_of_its_own(store, claimed, put):
    ordinary = own_connection(store)
    assert ordinary is connections[store.using]
    theirs = copy.deepcopy(ordinary.settings_dict)
    own = own_connection(claimed(store))
    put(store)
    assert own is not connections[store.using]
    assert connections[store.using] is ordinary
    assert ordinary.settings_dict == theirs
    store.release_thread()
    assert own.connection is None
    assert own_connection(store) is ordinary


def test_a_claimed_thread_writes_outside_the_transactions_of_others(on_postgres, claimed, put):
    claimed(on_postgres)
    with transaction.atomic(using="postgres"):
        put(on_postgres)
        transaction.set_rollback(True, using="postgres")
    assert on_postgres.get_many(["a"]).jobs


def test_one_threads_claim_is_not_anothers(store, claimed):
    claimed(store)
    seen = []

    elsewhere(lambda: seen.append(own_connection(store) is connections[store.using]))
    assert seen == [True]


# Trouble


def test_an_alias_that_is_none_is_a_configuration_error():
    with pytest.raises(StoreNotFound, match="DATABASES has no 'typo'"):
        load_store({"BACKEND": "database", "OPTIONS": {"using": "typo"}})


def test_a_missing_table_is_told_with_its_cure(unblocked, tmp_path):
    add_database("bare", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "bare.sqlite3")})
    store = DatabaseStore("bare")
    with pytest.raises(StoreUnavailable, match="migrate immortus_channels --database=bare") as caught:
        store.get_many(["a"])
    assert isinstance(caught.value.__cause__, Error)
    connections["bare"].close()


def test_a_database_that_is_not_there_is_store_unavailable(unblocked, tmp_path):
    add_database("nowhere", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "no" / "x.sqlite3")})
    store = DatabaseStore("nowhere")
    for call in (lambda: store.positions([]), lambda: store.list(Filter()), lambda: store.renew({"a": "b"}, 1)):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert isinstance(caught.value.__cause__, Error)


@pytest.mark.parametrize("is_claimed", [True, False])
def test_after_a_restart_of_the_database_one_call_fails_at_most(on_postgres, postgres, request, is_claimed):
    request.addfinalizer(connections["postgres"].close)
    if is_claimed:
        request.getfixturevalue("claimed")(on_postgres)
    assert on_postgres.list(Filter()) == []
    postgres.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            on_postgres.get_many(["a"])
    postgres.start()
    assert on_postgres.list(Filter()) == []
    postgres.kill()
    postgres.start()
    with pytest.raises(StoreUnavailable):
        on_postgres.get_many(["a"])
    assert on_postgres.list(Filter()) == []


def test_a_job_that_never_holds_still_is_given_up(store, put):
    put(store)

    def change(job, _now):
        changed = put(store, message=job.message + ".")
        return Job(job_id="a", version=changed.version + 1)

    with pytest.raises(StoreUnavailable, match="100 times"):
        store.update("a", change)


def in_child(store, answers):
    store.close()
    store.claim_thread()
    answers.put(store.get_many(["a"]).jobs["a"].message)
    store.release_thread()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_does_not_share_the_claimed_connection(on_postgres, claimed, put):
    claimed(on_postgres)
    put(on_postgres, message="parent's")
    backend = own_connection(on_postgres).connection.info.backend_pid
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=in_child, args=(on_postgres, answers))
    child.start()
    assert answers.get(timeout=10) == "parent's"
    child.join()
    assert on_postgres.get_many(["a"]).jobs
    assert own_connection(on_postgres).connection.info.backend_pid == backend
    answers.close()


# Pruning on writes


@pytest.fixture
def old(put):
    """Puts two jobs into a store that ended eight days ago, and tells which are left."""

    def put_old(store):
        for job_id in ("1", "2"):
            put(store, job_id, state=State.FINISHED, version=1, finished_at=-8 * 86_400)
        return lambda: len(store.get_many(["1", "2"]).jobs)

    return put_old


def test_about_every_hundredth_end_of_a_job_prunes_a_little(store, put, old):
    left = old(store)
    put(store, "x", state=State.FINISHED, version=199, finished_at=0)
    put(store, "y", state=State.RUNNING, version=200)
    assert left() == 2
    put(store, "z", state=State.FINISHED, version=200, finished_at=0)
    assert left() == 0


def test_pruning_leaves_the_callers_transaction_alone(store, put, old):
    left = old(store)
    with transaction.atomic(using=store.using):
        put(store, "z", state=State.FINISHED, version=200, finished_at=0)
    assert left() == 2


def test_a_job_that_comes_back_to_life_while_it_is_pruned_stays(on_postgres, put):
    put(on_postgres, state=State.LOST, finished_at=-100)
    pruned = []
    with transaction.atomic(using="postgres"):
        put(on_postgres, state=State.RUNNING, finished_at=None)
        pruning = threading.Thread(target=lambda: (pruned.append(on_postgres.prune(50)), connections.close_all()))
        pruning.start()
        wait_until(lambda: blocked_backends() == 1)
    pruning.join()
    assert pruned == [0]
    assert on_postgres.get_many(["a"]).jobs


def test_pruning_that_fails_does_not_fail_the_write(store, put, monkeypatch, caplog):
    monkeypatch.setattr(sql, "delete_oldest", lambda *_: sql._execute(own_connection(store), "nonsense", []))
    put(store, "z", state=State.FINISHED, version=200, finished_at=0)
    assert store.get_many(["z"]).jobs
    assert "could not prune old jobs" in caplog.text
