"""What travels with a job's message: what its sender knows, and which record it made, for the worker to write over."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from immortus_channels.jobs.events import Enqueued, Origin
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.writer.values import clean


def to_header(origin: Origin) -> dict[str, Any]:
    """Return the origin as JSON for the message's headers."""
    fields = {name: getattr(origin, name) for name in Origin.__slots__}
    return {name: clean(value) for name, value in fields.items() if value not in (None, "")}


def from_header(header: Mapping[str, Any]) -> Origin:
    """Return the origin that `to_header` wrote; fields that a newer release added are ignored."""
    return Origin(**{name: value for name, value in header.items() if name in Origin.__slots__})


def with_record(header: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Return the header with the version and a digest of the record that the job's first sending made.

    Any other record the worker has to read.
    """
    if job.state is not State.ENQUEUED or job.version != job.enqueued_at:
        return {**header}
    return {**header, "record": [job.version, _digest_of(job)]}


def job_in(header: Mapping[str, Any] | None, job_id: str, job_class: str) -> Job | None:
    """Return the job that its sender put on record, without its lease; None where the header does not tell.

    The worker makes it again from the origin, as the sender did, and believes it if the digest is the sender's.
    """
    if header is None:
        return None
    match header.get("record"):
        case [int(version), str(digest)]:
            sent = Enqueued(job_id=job_id, job_class=job_class, origin=from_header(header))
            job = apply(None, sent, now=version)
            return job.with_unknown_lease if job and _digest_of(job) == digest else None
    return None


def _digest_of(job: Job) -> str:
    record = job.with_unknown_lease.to_record()
    return blake2b(record.encode(errors="surrogatepass"), digest_size=8).hexdigest()
