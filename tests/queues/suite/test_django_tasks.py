"""The suite, by django.tasks."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.queues.suite.cases import Cases
from tests.queues.suite.django_tasks import CeleryDriver, DjangoTasksDriver, RedisDriver


@pytest.mark.slow
@pytest.mark.skipif(find_spec("django_tasks_db") is None, reason="django-tasks-db is not installed")
class TestDatabase(Cases):
    """`db_worker`, on SQLite."""

    driver = DjangoTasksDriver


@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.skipif(find_spec("django_tasks_redis") is None, reason="django-tasks-redis is not installed")
class TestRedis(Cases):
    """`run_redis_tasks`."""

    driver = RedisDriver


@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.skipif(find_spec("django_tasks_celery") is None, reason="django-tasks-celery is not installed")
class TestCelery(Cases):
    """Celery's worker."""

    driver = CeleryDriver
