"""The doctor's probe in the table of Procrastinate's Django app."""

from __future__ import annotations

import pytest
from django.db import connections

from immortus_channels.jobs.job import State
from tests.queues.procrastinate.conftest import DATABASE, record_of
from tests.toys import eventually

pytestmark = pytest.mark.postgresql


def test_it_waits_for_a_worker_of_the_queue_that_is_named(app):
    from immortus_channels.queues.procrastinate import probe  # noqa: PLC0415 - it declares a task in the app

    app.tasks[probe.probe.name] = probe.probe  # another test may have imported it before
    numbers = {queue or "default": probe.send("unused", queue) for queue in (None, "images")}
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("SELECT queue_name, id FROM procrastinate_jobs")
        assert dict(cursor) == numbers
    assert eventually(lambda: {record_of(each).state for each in numbers.values()} == {State.ENQUEUED}, 2)
