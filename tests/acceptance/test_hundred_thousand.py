"""A hundred thousand jobs on record: what looks at some of them does not do the work of all.

Work is counted, not timed: the steps of SQLite's machine, and the keys that Redis is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from redis import Redis

from immortus_channels import queues
from immortus_channels.api.job_state import JobState
from immortus_channels.jobs.job import Job, State
from immortus_channels.models import JobRecord
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores.redis import RedisStore
from immortus_channels.stores.redis_keys import WRITE
from immortus_channels.urls import immortus_jobs
from tests.servers import RedisServer
from tests.toys import ToyQueue

urlpatterns = [*immortus_jobs(), path("admin/", admin.site.urls)]
pytestmark = [pytest.mark.slow, pytest.mark.case(51), pytest.mark.urls(__name__)]

JOBS = 100_000
CLASSES = 20
OWNER = "7"


class Painting(JobState):
    task = "shop.7"


class Rare(JobState):
    task = "shop.rare"


LOOKUPS: list[tuple[Callable[[], list[Any]], int]] = [
    (JobState.all, 100),
    (Painting.all, 100),
    (lambda: Painting.all(limit=50, before=40_000), 50),
    (lambda: JobState.filter(owner=OWNER), 10),
    (lambda: JobState.filter(states=["failed"], limit=20), 20),
    (lambda: Rare.filter(states=["running"]), 1),
    (lambda: Rare.filter(states=["lost"]), 0),
    (lambda: [JobState.find("job-70000")], 1),
]
"""What a page may ask, and how many jobs it gets."""


def jobs() -> Iterator[Job]:
    yield Job(job_id="rare", job_class=Rare.task, state=State.RUNNING, version=1)
    for n in range(2, JOBS + 1):
        yield Job(
            job_id=f"job-{n}",
            job_class=f"shop.{n % CLASSES}",
            state=State.LOST if n % 1000 else State.FAILED,
            version=n,
            owner=OWNER if n % 10_000 == 0 else "8",
        )


@pytest.fixture(autouse=True)
def _queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "connected", [ToyQueue(**{Painting.task: TaskOptions(), Rare.task: TaskOptions()})])


# The database


@pytest.fixture
def _table(db: None) -> None:
    columns = ("job_id", "job_class", "state", "owner", "version", "lease_holder", "record")
    rows = ((j.job_id, j.job_class, j.state.value, j.owner, j.version, "", j.to_record()) for j in jobs())
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {JobRecord._meta.db_table} ({', '.join(columns)}) VALUES (%s, %s, %s, %s, %s, %s, %s)", rows
        )


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """Each entry stands for 1,000 steps of SQLite's machine; there and back through the table takes 1,000 entries."""
    steps: list[int] = []
    connection.ensure_connection()
    connection.connection.set_progress_handler(lambda: steps.append(1), 1000)
    try:
        yield steps
    finally:
        connection.connection.set_progress_handler(None, 0)


@pytest.mark.usefixtures("_table")
def test_lookups_and_admin_pages_stay_cheap_with_a_hundred_thousand_rows(
    client: Client,
) -> None:
    for lookup, size in LOOKUPS:
        with counted_steps() as steps, CaptureQueriesContext(connection) as queries:
            assert len(lookup()) == size
        read = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
        assert len(read) <= len(State) + 1, read  # whatever is overdue is looked for first
        assert len(steps) < 10
    client.force_login(User.objects.create_superuser("boss", password="x"))
    for query in ({}, {"p": "90"}, {"state__exact": "failed"}, {"job_class": "shop.7"}, {"q": "job-70000"}):
        with counted_steps() as steps, CaptureQueriesContext(connection) as queries:
            response = client.get(reverse("admin:immortus_channels_jobrecord_changelist"), query)
        assert 0 < len(response.context["cl"].result_list) <= 100
        assert len(queries) <= CLASSES + 15, queries.captured_queries  # the filter offers the classes one by one
        assert len(steps) < 500, query


# Redis


@pytest.fixture
def redis_of_jobs() -> Iterator[RedisServer]:
    """A Redis with all the jobs."""
    with RedisServer() as server, Redis.from_url(server.url) as client:
        write = client.script_load(WRITE)
        writing = RedisStore(url=server.url)._layout.writing
        with client.pipeline(transaction=False) as pipeline:
            for number, job in enumerate(jobs(), 1):
                keys, arguments = writing(None, job, 0)
                pipeline.evalsha(write, len(keys), *keys, "", "-", "-", "", "0", *arguments)
                if number % 5_000 == 0:
                    pipeline.execute()
            pipeline.execute()
        yield server


@pytest.mark.redis
def test_a_lookup_among_100_000_keys_asks_redis_only_for_what_it_returns(
    redis_of_jobs: RedisServer, settings: Any
) -> None:
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": redis_of_jobs.url}}
    with Redis.from_url(redis_of_jobs.url) as client:
        for lookup, size in LOOKUPS:
            client.config_resetstat()
            assert len(lookup()) == size
            calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
            assert calls.get("cmdstat_hmget", 0) <= 100, calls
            assert not {"cmdstat_keys", "cmdstat_scan"} & set(calls)
