"""The store of the suite's project, which tells of every write that changed a job: a line of the file "told".

A file named "down" in the project's folder lets every write fail, one named "slow" delays those of the sender.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from immortus_channels.jobs.job import Job
from immortus_channels.stores.base import Change, Store
from immortus_channels.stores.database import DatabaseStore
from immortus_channels.stores.sqlite.store import SQLiteStore

FOLDER = "IMMORTUS_SUITE_FOLDER"
SENDER = "IMMORTUS_SUITE_SENDER"
SLOW = 1.5
"""Seconds: longer than a sending waits for its write."""


class _Telling(Store):
    """A store that appends what has changed to a file."""

    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply the change, and tell of it."""
        folder = Path(os.environ[FOLDER])
        if (folder / "down").exists():
            msg = "the store is down"
            raise OSError(msg)
        if SENDER in os.environ and (folder / "slow").exists():
            time.sleep(SLOW)
        before, after = super().update(job_id, change, known=known)  # type: ignore[safe-super]  # a store's stands behind
        if after is not None and after is not before:
            _tell(folder, after)
        return before, after


def _tell(folder: Path, job: Job) -> None:
    told = {**job.document, "owner": job.owner, "staff_only": job.staff_only, "queue": job.queue}
    told |= {"params": dict(job.params), "process": os.getpid()}
    with (folder / "told").open("ab", buffering=0) as file:
        file.write(json.dumps(told).encode() + b"\n")


class TellingStore(_Telling, SQLiteStore):
    """Keeps jobs as a project on SQLite does."""


class TellingDatabaseStore(_Telling, DatabaseStore):
    """Keeps jobs as a project on PostgreSQL does."""
