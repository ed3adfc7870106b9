"""The suite, by django.tasks."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.queues.suite.cases import Cases
from tests.queues.suite.django_tasks import DjangoTasksDriver


@pytest.mark.slow
@pytest.mark.skipif(find_spec("django_tasks_db") is None, reason="django-tasks-db is not installed")
class TestDatabase(Cases):
    """`db_worker`, on SQLite."""

    driver = DjangoTasksDriver
