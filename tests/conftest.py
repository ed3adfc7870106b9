"""Fixtures of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.matrix import Matrix
from tests.servers import PostgresServer, RedisServer


def pytest_configure(config: pytest.Config) -> None:
    """Let the fault matrix listen."""
    config.pluginmanager.register(Matrix(config.getoption("markexpr")))


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
