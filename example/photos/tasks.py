"""The tasks, where queues look for them: those of `queues/celery/tasks.py`, or of the queue that QUEUE names."""

from __future__ import annotations

from django.conf import settings

TASKS = settings.DEMO_QUEUE.tasks
