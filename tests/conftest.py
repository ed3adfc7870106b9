"""Fixtures of the whole suite."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator

import celery.app  # noqa: F401 - tests find its adapter connected
import pytest

from immortus_channels import queues
from immortus_channels.logs import quiet
from immortus_channels.queues import tracked
from tests import examples, order, templates
from tests.matrix import Matrix
from tests.quick import LeftOut
from tests.servers import PostgresServer, RedisServer

examples.register_profiles()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the thousands of tests that are collected: all of them stay, and looking takes long."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `-k case_05` choose the tests of the fifth acceptance case."""
    for item in items:
        for mark in item.iter_markers("case"):
            item.extra_keyword_matches.update(f"case_{number:02}" for number in mark.args)


def pytest_configure(config: pytest.Config) -> None:
    """Let the fault matrix listen, put tests in order, and count what a quick run leaves out."""
    config.pluginmanager.register(Matrix(config.getoption("markexpr")))
    config.pluginmanager.register(LeftOut())
    config.pluginmanager.register(order)


@pytest.fixture(autouse=True, scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All processes of a run share one folder of templates."""
    mine = tmp_path_factory.getbasetemp()
    templates.folder = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


@pytest.fixture(autouse=True)
def _as_nothing_was_said() -> None:
    """What another test has made the package say may be said again."""
    quiet.forget()


@pytest.fixture(autouse=True)
def _as_no_other_test_had_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that a test has made is not known by its name to the next one."""
    for queue in queues.connected:
        for name, known in vars(queue).items():
            if isinstance(known, dict):
                monkeypatch.setattr(queue, name, dict(known))


@pytest.fixture
def celery_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which no other queue is in use, though tests of others have made tasks and marks."""
    monkeypatch.setattr(queues, "connected", [queues.by_name("celery")])
    others = {place for place in tracked.places if place.startswith("tests.queues.")}
    monkeypatch.setattr(tracked, "places", tracked.places - others)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis of our own, whose data survives a kill."""
    with RedisServer(keeps_data=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own."""
    with PostgresServer() as server:
        yield server
