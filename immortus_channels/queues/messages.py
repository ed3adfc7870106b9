"""What travels with a job's message: what its sender knows, and which record it made, for the worker to write over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Enqueued, Origin
from immortus_channels.jobs.ids import text_of
from immortus_channels.jobs.job import JSON, Job, State
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.keys import key_of
from immortus_channels.queues.traits import QueueTraits
from immortus_channels.writer.values import clean

_JOB = "job_id"
"""The job that a header is about; releases that did not record it never sent a header for another job."""
_SECOND = "second"
"""Whether another message of the job was under way when this one was sent; its own retry is then the only one."""
_NAMESPACE = "namespace"
"""The field of an origin that is in a job's key as well."""


def to_header(origin: Origin) -> dict[str, Any]:
    """Return the origin as JSON for the message's headers."""
    fields = {name: getattr(origin, name) for name in Origin.__slots__}
    return {name: clean(value) for name, value in fields.items() if value not in (None, "")}


def from_header(header: Mapping[str, Any]) -> Origin:
    """Return the origin that `to_header` wrote; fields that a newer release added are ignored."""
    return Origin(**{name: value for name, value in header.items() if name in Origin.__slots__})


# Which job, and which life of it


def first_header(origin: Origin, job_id: object) -> dict[str, Any]:
    """Return the header of the first message of a life, or of one that continues it."""
    return {**to_header(origin), _JOB: str(job_id)}


def continuing_header(origin: Origin, job_id: object) -> dict[str, Any]:
    """Return the header of a message that continues a recorded life: its arguments and data need not travel."""
    return first_header(replace(origin, params=None, data=None), job_id)


def second_header(origin: Origin, job_id: object) -> dict[str, Any]:
    """Return the header of a second message of a job that is not over: if no worker runs it, the job has not ended."""
    return {**continuing_header(origin, job_id), _SECOND: True}


def is_second(header: Mapping[str, Any] | None) -> bool:
    """Return whether the message with this header is a second one of its job."""
    return bool(header and header.get(_SECOND))


def without_second(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of a message that is the only one of its job by now."""
    return {name: value for name, value in header.items() if name != _SECOND}


def is_about(header: Mapping[str, Any] | None, job_id: object) -> bool:
    """Return whether the header is this job's; an id may be a UUID here and text there."""
    return header is not None and bool(header.get(_JOB, str(job_id)) == str(job_id))


def namespace_in(*headers: Mapping[str, Any] | None) -> str:
    """Return the namespace in the first of these headers that a message has; without any, the one in force here."""
    for header in headers:
        if header is not None:
            return str(header.get(_NAMESPACE, ""))
    return namespaces.current()


def tells_namespaces(queue: QueueTraits) -> bool:
    """Return whether a worker knows the namespace of a message: without a header it cannot, where there are any."""
    return queue.carries_headers or not namespaces.are_used()


def key_in(namespace: str, task_id: Any) -> Any:
    """Return the key of a task's job in a namespace; an id that is of another type than ids are, as it is."""
    job_id = text_of(task_id)
    return task_id if job_id is None else key_of(namespace, job_id)


# Whose


def owner_header(origin: Origin) -> dict[str, JSON]:
    """Return a job's owner for the messages of the jobs that follow it; `with_owner` reads it."""
    namespace: dict[str, JSON] = {_NAMESPACE: origin.namespace} if origin.namespace else {}
    return {"owner": origin.owner, "staff_only": origin.staff_only, **namespace}


def with_owner(origin: Origin, ownership: Mapping[str, Any] | None) -> Origin:
    """Return the origin with the owner that the message names, if any: another process planned this job."""
    if ownership is None:
        return origin
    owner, staff_only = ownership.get("owner"), bool(ownership.get("staff_only"))
    return replace(origin, namespace=ownership.get(_NAMESPACE, ""), owner=owner, staff_only=staff_only)


# On record


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
