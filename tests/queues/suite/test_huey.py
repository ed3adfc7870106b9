"""The suite, by Huey."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.queues.suite.cases import Cases
from tests.queues.suite.huey import GreenletsDriver, HueyDriver, OnCommitDriver, ProcessesDriver, RedisDriver


@pytest.mark.slow
class TestHuey(Cases):
    """Threads, on SQLite."""

    driver = HueyDriver


@pytest.mark.slow
class TestOnCommit(Cases):
    """Threads, on SQLite, with what is sent once the transaction is committed."""

    driver = OnCommitDriver


@pytest.mark.slow
class TestProcesses(Cases):
    """Processes, on SQLite."""

    driver = ProcessesDriver


@pytest.mark.redis
@pytest.mark.slow
class TestRedis(Cases):
    """Threads, on Redis."""

    driver = RedisDriver


@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
@pytest.mark.slow
class TestGreenlets(Cases):
    """Greenlets, on SQLite."""

    driver = GreenletsDriver
