"""Procrastinate's Django app on a PostgreSQL of our own, with its worker on the test's event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from immortus_channels.stores import get_store
from tests.servers import PostgresServer, add_database, forget_database

collect_ignore_glob = [] if find_spec("procrastinate") else ["test_*.py"]

DATABASE = "procrastinate"
APP = "procrastinate.contrib.django"


@pytest.fixture(scope="session")
def _app(django_db_blocker, postgres: PostgresServer) -> Iterator[None]:
    add_database(DATABASE, postgres.database)
    here = {"PROCRASTINATE_DATABASE_ALIAS": DATABASE, "PROCRASTINATE_AUTODISCOVER_MODULE_NAME": None}
    with (
        django_db_blocker.unblock(),
        override_settings(**here),
        override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, APP]),
    ):
        call_command("migrate", "procrastinate", database=DATABASE, verbosity=0)
        yield
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()
        forget_database(DATABASE)


@pytest.fixture
def app(_app, settings):
    """The Django app, without any job."""
    from procrastinate.contrib.django import app  # noqa: PLC0415 - it may not be installed

    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_INLINE = False  # as in production
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")
    app.tasks.pop("immortus_channels.probe", None)  # which another test may have declared
    names = {*app.tasks}
    yield app
    for name in {*app.tasks} - names:
        del app.tasks[name]


@pytest.fixture
def work(app):
    """Run a worker on this event loop until there is nothing to do."""

    async def work(**options) -> None:
        async with worker_of(app, **options) as worker:
            await worker.run()

    return work


@contextlib.asynccontextmanager
async def worker_of(app, **options):
    """A worker with the connector that `manage.py procrastinate worker` gives it."""
    options = {"wait": False, "install_signal_handlers": False, **options}
    with app.replace_connector(app.connector.get_worker_connector()):
        async with app.open_async():
            yield app._worker(**options)


@pytest.fixture
def row(app):
    """Read a job's row in Procrastinate's table."""

    def row(number: int) -> dict[str, object]:
        return next(iter(rows(f"WHERE id = {number}")), {})

    return row


def rows(where: str = "") -> list[dict[str, object]]:
    """Rows of that table."""
    with connections[DATABASE].cursor() as cursor:
        cursor.execute(f"SELECT id, status::text, attempts, abort_requested FROM procrastinate_jobs {where}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor]


def record_of(number: int | None):
    """The job's record; None if there is none."""
    job_id = f"procrastinate-{number}"
    return get_store().get_many([job_id]).jobs.get(job_id)
