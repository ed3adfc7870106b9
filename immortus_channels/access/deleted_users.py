"""Forgets the jobs of deleted users and tenants: the next with the same primary key or schema must not find them.

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
from immortus_channels.jobs.lifecycle import DELETED_OWNER
from immortus_channels.keys import name_in, namespace_of
from immortus_channels.logs import logger
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter
from immortus_channels.writer import Write, perform

BATCH = 200


def forget(owner: str, using: str | None = None) -> None:
    """Forget this owner's jobs, soon, once the current transaction is committed; never raises."""
    _forget_soon(_forgetter, owner, using)


def forget_namespace(namespace: str, using: str | None = None) -> None:
    """Forget all jobs of this namespace, as `forget` does."""
    _forget_soon(_tenant_forgetter, namespace, using)


def _forget_soon(forgetter: Forgetter, key: str, using: str | None) -> None:
    try:
        transaction.on_commit(lambda: forgetter.put(key), using=using, robust=True)
    except Exception:
        logger.exception("The jobs of %r are not forgotten: %s", key, forgetter.hint(key))


def forget_now(owner: str) -> int:
    """Forget this owner's jobs; return how many there were. Raises StoreUnavailable, and ValueError for an empty key.

    Ended jobs are deleted. Jobs that may still report stay, without their owner, for staff.
    """
    if not owner:
        msg = "An owner's key must not be empty."
        raise ValueError(msg)
    return _forget_all(Filter(owner=owner))


def forget_namespace_now(namespace: str, *, wholly: bool = False) -> int:
    """Forget all jobs of this namespace, as `forget_now` does; `wholly` deletes those that may still report too."""
    return _forget_all(Filter(namespace=namespace), wholly=wholly)


def _forget_all(wanted: Filter, *, wholly: bool = False) -> int:
    total = 0
    while count := _forget_once(wanted, wholly=wholly):  # again, as a job that changed meanwhile was passed over
        total += count
    return total


def _forget_once(wanted: Filter, *, wholly: bool) -> int:
    store, count, before = get_store(), 0, None
    while jobs := store.list(wanted, limit=BATCH, before=before):
        before = jobs[-1].version
        goes = [job for job in jobs if wholly or _is_over_for_good(job)]
        gone = store.remove(goes)
        if gone == len(goes):
            jobs = [job for job in jobs if job not in goes]
        owned = [job for job in jobs if job.owner != DELETED_OWNER]
        for job in owned:
            perform(Write(Disowned(job_id=job.job_id)))
        count += gone + len(owned)
    return count


def _is_over_for_good(job: Job) -> bool:
    return job.is_over and job.state != "lost"


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

    def perform(self, owner: str) -> None:
        """Do one errand."""
        forget_now(owner)

    def hint(self, owner: str) -> str:
        """Return what to do about an errand that failed."""
        namespace = namespace_of(owner)
        where = f" --namespace {namespace}" if namespace else ""
        return f"run `manage.py prune_jobs --owner {name_in(owner)}{where}`"

    def drain(self) -> None:
        """Forget the owners left before the process ends; log those that it cannot."""
        with self._condition:
            self._is_ending = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._threads, self.DRAIN)
            for owner in self._pending:
                logger.error("The jobs of %r are not forgotten: %s", owner, self.hint(owner))
            self._is_ending = False

    def _work(self) -> None:
        while (due := self._next()) is not None:
            self._forget(due[0])

    def _forget(self, owner: str) -> None:
        try:
            with _own_connections():
                self.perform(owner)
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
        logger.error("The jobs of %r are not forgotten (%s): %s", owner, error, self.hint(owner))


class TenantForgetter(Forgetter):
    """The same for the namespaces of deleted tenants."""

    def perform(self, namespace: str) -> None:
        """Do one errand."""
        forget_namespace_now(namespace)

    def hint(self, namespace: str) -> str:
        """Return what to do about an errand that failed."""
        return f"run `manage.py prune_jobs --namespace {namespace} --all`"


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


_forgetter, _tenant_forgetter = Forgetter(), TenantForgetter()
atexit.register(_forgetter.drain)
atexit.register(_tenant_forgetter.drain)
