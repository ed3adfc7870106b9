"""The task queues that the example runs on: a folder each, with the queue's settings and worker, and its tasks."""

from __future__ import annotations

import os
from importlib import import_module

from queues.base import Queue

NAMES = ("celery", "django-tasks", "huey", "django-q2", "rq", "dramatiq", "procrastinate")
"""What the environment's QUEUE may be; `make demo QUEUE=huey` sets it."""


def chosen() -> Queue:
    """Return the queue that QUEUE names, or Celery; raise ValueError for an unknown one, or without its service."""
    name = os.environ.get("QUEUE") or NAMES[0]
    if name not in NAMES:
        msg = f"QUEUE={name} is none of {', '.join(NAMES)}"
        raise ValueError(msg)
    queue: Queue = import_module(f"queues.{name.replace('-', '_')}").queue
    if queue.service and not os.environ.get(queue.service.variable):
        variable, kind, address = queue.service
        msg = f"{queue.title} needs {kind}; try: {variable}={address} make demo QUEUE={name}"
        raise ValueError(msg)
    return queue
