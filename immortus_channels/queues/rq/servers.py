"""The Redis servers on which RQ's jobs are, as far as this process knows them."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from django.conf import settings
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job


class Servers:
    """Where to look for a job of which only the id is known."""

    def __init__(self) -> None:
        self._queues: dict[object, Queue] = {}
        """A queue for each server and serializer."""
        self._has_asked = False
        """Whether those of django-rq's settings are among them."""

    def note(self, queue: Queue) -> None:
        """Note a queue to which this process sends a tracked job."""
        self._queues.setdefault(_place_of(queue), queue)

    def are_known(self) -> bool:
        """Return whether there is any."""
        self._ask_django_rq()
        return bool(self._queues)

    def find(self, job_id: str) -> Job | None:
        """Return the job of this id, from the first server that has it; None if none has."""
        self._ask_django_rq()
        for queue in list(self._queues.values()):
            with suppress(NoSuchJobError):
                return queue.job_class.fetch(job_id, connection=queue.connection, serializer=queue.serializer)
        return None

    def _ask_django_rq(self) -> None:
        """Note the queues of django-rq's settings, once: the process may have used none of them."""
        queues: Any = sys.modules.get("django_rq.queues")
        if queues is not None and not self._has_asked:
            self._has_asked = True
            for name in getattr(settings, "RQ_QUEUES", None) or {}:
                self.note(queues.get_queue(name))


def _place_of(queue: Queue) -> object:
    pool = queue.connection.connection_pool
    told = pool.connection_kwargs
    where = tuple(told.get(name) for name in ("host", "port", "path", "db"))
    return (*where, getattr(pool, "service_name", None), queue.serializer)
