"""Jobs of SAQ: what this package notes on them, and what it calls them and their runs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from saq import Job

from immortus_channels.queues.functions import with_told

if TYPE_CHECKING:
    from immortus_channels.queues.sendings import Sending

HEADER = "immortus"
"""The entry of a job's `meta` that says what its sender knows."""
UNKNOWN = "_immortus_unknown"
"""Set on a job whose function its worker does not have."""
_OF_A_TIME = 1
"""The version of the UUIDs that SAQ makes (RFC 9562): who knows one can guess others."""


def id_of(job: Job) -> str:
    """Return the id of a job: its key, and for one of a schedule, whose jobs share a key, its time."""
    return f"{job.key}:{job.scheduled}" if job.scheduled and job.key == f"cron:{job.function}" else str(job.key)


def run_id_of(job: Job) -> str:
    """Return the id of a job's latest run, as every process can make it of what SAQ has on record; "" if it has none.

    Call it before SAQ puts the job back, and forgets the run.
    """
    if not job.started or vars(job).get(UNKNOWN):
        return ""
    worker = vars(job).get("worker_id")  # since SAQ 0.26.3
    run = f"{job.key}\n{worker}\n{job.attempts}\n{job.started}"
    return blake2b(run.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def header_of(job: Job) -> Mapping[str, Any] | None:
    """Return what the job's sender knew; None if a process sent it that does not track jobs."""
    header = job.meta.get(HEADER)
    return header if isinstance(header, dict) else None


def put_header(job: Job, sending: Sending, *, is_told: bool) -> None:
    """Give a job the header of its sending, and not into the same dictionary: other jobs may have it too."""
    meta = {name: value for name, value in job.meta.items() if name != HEADER}
    job.meta = meta if sending.header is None else {**meta, HEADER: with_told(sending.header, is_told=is_told)}


def is_new(job: Job) -> bool:
    """Return whether the job has a key of SAQ's own, and was not sent before."""
    return HEADER not in job.meta and can_be_guessed(job.key)


def can_be_guessed(key: object) -> bool:
    """Return whether a key is one of SAQ's own, which are made of the time."""
    with suppress(ValueError):
        return uuid.UUID(str(key)).version == _OF_A_TIME
    return False
