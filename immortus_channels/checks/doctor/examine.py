"""The examination from beginning to end: settings and store here, then the way of a job, then the socket."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

from django.core.checks import ERROR

from immortus_channels import checks
from immortus_channels.checks.doctor.finding import Finding, Level, reason_of, since
from immortus_channels.checks.doctor.socket import examine_socket
from immortus_channels.checks.doctor.way import examine_way
from immortus_channels.conf import is_inline
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.stores import get_store
from immortus_channels.stores.sqlite.store import SQLiteStore
from immortus_channels.threads import call_in_thread


def examine(timeout: float, queue: str | None, url: str | None) -> Iterator[Finding]:
    """Yield one finding after the other, each within `timeout` seconds or little more.

    The probe is sent to `queue`; the socket is tried at the running site `url`, or else in this process.
    """
    yield from _examine_settings()
    store = _examine_store(str(uuid.uuid4()), timeout)
    yield store
    if store.level != "wrong":
        yield from examine_way(timeout, queue)
    else:
        yield Finding(part="queue", level="note", message="not tried, nor worker and layer: no job can be followed")
    yield examine_socket(timeout, url)


def _examine_settings() -> Iterator[Finding]:
    found = checks.check_all()
    for one in found:
        level: Level = "wrong" if one.level >= ERROR else "note"
        yield Finding(part="settings", level=level, message=f"{one.msg} ({one.id})", hint=one.hint or "")
    if not found:
        yield Finding(part="settings", level="ok", message="nothing to complain about")


def _examine_store(job_id: str, timeout: float) -> Finding:
    began = time.monotonic()
    try:
        call_in_thread(lambda: _ask_store(job_id)).result(timeout)
    except Exception as error:  # noqa: BLE001 - a store may raise anything, and the finding says what
        hint = "Start it, or correct IMMORTUS_STORE; a database wants `manage.py migrate`."
        return Finding(part="store", level="wrong", message=reason_of(error), hint=hint)
    store = get_store()
    message = f"{type(store).__name__} answered in {since(began)}"
    if not isinstance(store, SQLiteStore) or is_inline():
        return Finding(part="store", level="ok", message=message)
    if store.path is None:
        hint = "`manage.py migrate` makes a file for them beside the database, or says why it cannot."
        return Finding(part="store", level="note", message=f"{message}; the database keeps the jobs itself", hint=hint)
    return Finding(part="store", level="ok", message=f"{message}; jobs are in {store.path}")


def _ask_store(job_id: str) -> None:
    """Query the store as a page does, then by a connection of the kind that writes jobs."""
    store = get_store()
    store.get_many([job_id])
    store.claim_thread()
    try:
        store.get_many([job_id])
    except StoreUnavailable as error:
        msg = f"it answers pages, but not the connection by which jobs are written: {error}"
        raise StoreUnavailable(msg) from error
    finally:
        store.release_thread()
