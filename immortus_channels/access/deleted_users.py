"""Forgets the jobs of deleted users: the next user with the same primary key must not find them.

There may be very many, so a thread of its own does it, whatever deleted the user.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, transaction

from immortus_channels.errands import Errands
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import Disowned
from immortus_channels.jobs.job import Job
from immortus_channels.keys import name_in, namespace_of
from immortus_channels.logs import logger
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter
from immortus_channels.writer import Write, perform

BATCH = 200


def forget(owner: str, using: str | None = None) -> None:
    """Forget this owner's jobs, soon, once the current transaction is committed; never raises."""
    try:
        transaction.on_commit(lambda: _forgetter.put(owner), using=using, robust=True)
    except Exception:
        logger.exception("The jobs of %r are not forgotten: %s", owner, _hint(owner))


def forget_now(owner: str) -> int:
    """Forget this owner's jobs; return how many there were. Raises StoreUnavailable, and ValueError for an empty key.

    Ended jobs are deleted. Jobs that may still report stay, without their owner, for staff.
    """
    if not owner:
        msg = "An owner's key must not be empty."
        raise ValueError(msg)
    store, total = get_store(), 0
    while jobs := store.list(Filter(owner=owner), limit=BATCH):
        total += len(jobs)
        ended = [job for job in jobs if _is_over_for_good(job)]
        if store.remove(ended) == len(ended):
            jobs = [job for job in jobs if not _is_over_for_good(job)]
        for job in jobs:
            perform(Write(Disowned(job_id=job.job_id)))
    return total


def _is_over_for_good(job: Job) -> bool:
    return job.is_over and job.state != "lost"


def _hint(owner: str) -> str:
    namespace = namespace_of(owner)
    where = f" --namespace {namespace}" if namespace else ""
    return f"run `manage.py prune_jobs --owner {name_in(owner)}{where}`"


class Forgetter(Errands[str, float]):
    """The owners to forget, each with the time by the monotonic clock until which to try."""

    NAME = "immortus-forgetting"
    PAUSE = 5.0
    """Seconds to leave a store alone after it failed to answer."""
    LIFE = 600.0
    """Seconds to try."""
    DRAIN = 5.0
    """Seconds that the end of the process waits for it."""

    def put(self, owner: str) -> None:
        """Add an owner, and start the thread if there is none."""
        with self._condition:
            self._put(owner, time.monotonic() + self.LIFE)

    def drain(self) -> None:
        """Forget the owners left before the process ends; log those that it cannot."""
        with self._condition:
            self._is_ending = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._threads, self.DRAIN)
            for owner in self._pending:
                logger.error("The jobs of %r are not forgotten: %s", owner, _hint(owner))
            self._is_ending = False

    def _work(self) -> None:
        while (due := self._next()) is not None:
            self._forget(due[0])

    def _forget(self, owner: str) -> None:
        try:
            with _own_connections():
                forget_now(owner)
        except Exception as error:  # noqa: BLE001 - a store of the project's own may raise anything
            self._try_later(owner, error)
        else:
            with self._condition:
                self._pending.pop(owner, None)

    def _try_later(self, owner: str, error: Exception) -> None:
        with self._condition:
            until = self._pending.pop(owner)
            if time.monotonic() < until and not self._is_ending and isinstance(error, StoreUnavailable):
                self._pending[owner] = until  # behind the others
                self._condition.wait_for(lambda: self._is_ending, self.PAUSE)
                return
        logger.error("The jobs of %r are not forgotten (%s): %s", owner, error, _hint(owner))


@contextmanager
def _own_connections() -> Iterator[None]:
    """Give the thread store connections with short timeouts, and close them at the end."""
    store = get_store()
    store.claim_thread()
    try:
        yield
    finally:
        store.release_thread()
        connections.close_all()


_forgetter = Forgetter()
atexit.register(_forgetter.drain)
