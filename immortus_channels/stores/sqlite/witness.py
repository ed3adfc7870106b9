"""Whether sender and worker use the same jobs file, which they find out through the database, which they share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from socket import gethostname

from django.db import DEFAULT_DB_ALIAS

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job, State
from immortus_channels.models import JobRecord
from immortus_channels.stores import get_store
from immortus_channels.stores.database import DatabaseStore
from immortus_channels.stores.sqlite.store import SQLiteStore

NOTE = "immortus_channels.probe"
"""The job class of notes; an earlier doctor may have left some unread."""


def testify(job_id: str) -> None:
    """Leave a note in the database (from the worker) if the sender's record of this job is not where jobs are here."""
    store = get_store()
    place = _elsewhere(store, job_id) if isinstance(store, SQLiteStore) else None
    if place is None:
        return
    note = Job(job_id=job_id, job_class=NOTE, state=State.FINISHED, message=f"on {gethostname()}: {place}")
    with suppress(StoreUnavailable):
        DatabaseStore().update(job_id, lambda _, now: replace(note, version=now, finished_at=now))


def testimony(job_id: str) -> str | None:
    """Return where the worker keeps jobs, if not where the sender does (called there). Raises StoreUnavailable."""
    store = get_store()
    if not isinstance(store, SQLiteStore) or store.path is None:
        return None
    note = DatabaseStore().get_many([job_id]).jobs.get(job_id)
    JobRecord.objects.using(DEFAULT_DB_ALIAS).filter(job_class=NOTE).delete()
    return None if note is None else note.message


def _elsewhere(store: SQLiteStore, job_id: str) -> str | None:
    """Return the file, or why there is none; None if the job is on record as it was sent."""
    try:
        path, job = store.path, store.get_many([job_id]).jobs.get(job_id)
    except StoreUnavailable as error:
        return str(error)
    was_sent_here = job is not None and job.enqueued_at is not None
    return None if path is None or was_sent_here else str(path)
