"""What jobs published while a block ran: every document, in order, with a store that is empty at its beginning."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from django.test.utils import override_settings

from immortus_channels.jobs.ids import JobId, given_as
from immortus_channels.jobs.job import JSON
from immortus_channels.push import receivers
from immortus_channels.push.messages import Push, Revocation
from immortus_channels.writer import get_writer


class RecordedJobs:
    """Every version of every job, as a page would have been shown it."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        """All documents, in the order of their writes."""
        self.events: list[tuple[str, str]] = []
        """The job's id and its event (`job_enqueued`, `meta`, …), one for each document."""
        self._lock = threading.Lock()

    def receive(self, push: Push) -> None:
        """Take one version of a job; called by the package."""
        with self._lock:
            self.documents.append(json.loads(push.text))
            self.events.append((push.job_id, push.event))

    def reconsider(self, revocation: Revocation) -> None:
        """Do nothing: no watcher is here whose permissions could have gone."""

    def of(self, job_id: JobId) -> list[dict[str, Any]]:
        """Return the documents of one job."""
        wanted = given_as(job_id)
        return [document for document in self.documents if document["job_id"] == wanted]

    def last(self, job_id: JobId) -> dict[str, Any]:
        """Return the newest document of one job. Raises KeyError if there is none."""
        documents = self.of(job_id)
        if not documents:
            others = sorted({one["job_id"] for one in self.documents})
            msg = f"no document of {job_id!r} was recorded, only those of {others}"
            raise KeyError(msg)
        return documents[-1]

    def states(self, job_id: JobId) -> list[str]:
        """Return the states of one job, each as often as it was entered."""
        seen = [(document["attempt"], document["state"]) for document in self.of(job_id)]
        return [state for (_, state), _ in groupby(seen)]

    def seen(self, job_id: JobId, key: str) -> list[JSON]:
        """Return the values that one key of the document had, without repetitions: `seen(job_id, "percentage")`.

        Raises KeyError for a key that none of the job's documents has.
        """
        documents = self.of(job_id)
        keys = {known for document in documents for known in document}
        if documents and key not in keys:
            msg = f"no document of {job_id!r} has {key!r}, only {', '.join(sorted(keys))}"
            raise KeyError(msg)
        values = [document.get(key) for document in documents]
        return [value for value, _ in groupby(values)]


@contextmanager
def recorded_jobs(**settings: Any) -> Iterator[RecordedJobs]:
    """Record all jobs of the block, in a memory store of its own.

    Every call that publishes something makes a document; none is merged with the next. Further `settings` hold for the
    block as well. Jobs that other processes run are not recorded: run tasks eagerly, or with Celery's `apply()`.
    """
    own: Mapping[str, Any] = {"IMMORTUS_STORE": {"BACKEND": "memory"}, "IMMORTUS_FLUSH_INTERVAL": 0}
    jobs = RecordedJobs()
    with override_settings(**{**own, **settings}):
        receivers.add(jobs)
        try:
            yield jobs
        finally:
            get_writer().stop()  # what it has not written yet belongs to the block, and to its store
            receivers.remove(jobs)
