"""Django-Q2 in this process: its tables, its broker, and what its processes call."""

from __future__ import annotations

import contextvars
import warnings
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from multiprocessing import Event, Value
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from immortus_channels import queues
from immortus_channels.queues import adapters, tracked
from immortus_channels.stores import get_store


class Cluster:
    """A cluster whose processes are functions that a test calls."""

    def __init__(self) -> None:
        """Begin with an empty table."""
        self.broker = import_module("django_q.brokers").get_broker()

    def fetch(self) -> list[dict[str, Any]]:
        """Take the messages that are due, as the pusher does."""
        stop, fetched = Event(), import_module("django_q.queues").Queue()
        stop.set()
        import_module("django_q.pusher").pusher(fetched, stop, self.broker)
        return [fetched.get(timeout=5) for _ in range(fetched.qsize())]

    def run(self, *messages: dict[str, Any], timeout: int | None = None) -> None:
        """Run messages in a worker, and record what they did in the monitor."""
        queue = import_module("django_q.queues").Queue
        given, done = queue(), queue()
        for message in (*messages, "STOP"):
            given.put(message)
        try:
            import_module("django_q.worker").worker(given, done, Value("f", -1), timeout)
        finally:
            done.put("STOP")
            import_module("django_q.monitor").monitor(done, self.broker)

    def work(self) -> None:
        """Fetch what is due, and run it, in a context of its own as processes have."""
        contextvars.copy_context().run(lambda: self.run(*self.fetch()))

    def come_back(self) -> None:
        """Have all messages delivered again that were not acknowledged."""
        import_module("django_q.models").OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))

    @property
    def waiting(self) -> list[Any]:
        """The rows of the messages that were not acknowledged."""
        return list(import_module("django_q.models").OrmQ.objects.all())


@pytest.fixture(scope="session")
def _imported(django_db_setup: None, django_db_blocker: Any) -> Iterator[tuple[Any, set[str]]]:
    """Import Django-Q2, which connects its adapter, where no other test sees that; and make its tables."""
    pytest.importorskip("django_q")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns of the default settings
        patch.setattr(queues, "connected", [])
        patch.setattr(tracked, "places", set())
        import_module("django_q.signals")
        import_module("tests.queues.django_q.work")
        (queue,) = queues.connected
        places = tracked.places
    models = import_module("django_q.models")
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        for model in (models.Task, models.OrmQ, models.Schedule):
            editor.create_model(model)
    assert queue in adapters._ports
    return queue, places


@pytest.fixture
def conf(_imported: object, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Django-Q2's settings: messages are kept in the database, and come back at once."""
    conf = import_module("django_q.conf").Conf
    given = {"ORM": "default", "BULK": 100, "POLL": 0, "RETRY": 60, "MAX_ATTEMPTS": 0, "ACK_FAILURES": False}
    for name, value in given.items():
        monkeypatch.setattr(conf, name, value)
    return conf


@pytest.fixture
def queue(_imported: tuple[Any, set[str]], settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The adapter, which alone is connected."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    queue, places = _imported
    monkeypatch.setattr(queues, "connected", [queue])
    monkeypatch.setattr(tracked, "places", set(places))
    return queue


@pytest.fixture
def work(queue: object) -> Iterator[Any]:
    """The functions."""
    module = import_module("tests.queues.django_q.work")
    yield module
    module.seen.clear()
    module.meanwhile.clear()


@pytest.fixture
def cluster(queue: object, conf: Any, transactional_db: None) -> Iterator[Cluster]:
    """A cluster, which closes connections that are in a transaction."""
    yield Cluster()
    for model in ("Task", "OrmQ", "Schedule"):  # only the tables of installed apps are emptied
        getattr(import_module("django_q.models"), model).objects.all().delete()


@pytest.fixture
def async_task(cluster: Cluster) -> Any:
    """What sends."""
    return import_module("django_q.tasks").async_task


@pytest.fixture
def record(queue: object) -> Any:
    """Read a job's record; None if there is none."""

    def read(job_id: str) -> Any:
        return get_store().get_many([job_id]).jobs.get(job_id)

    return read
