"""Takes away what a user sees, or what all users see of a job: each server process checks permissions again at once."""

from __future__ import annotations

from immortus_channels import queues
from immortus_channels.guarded import quoted
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.ids import is_job_id, text_of
from immortus_channels.jobs.owner import key_here
from immortus_channels.push.messages import Revocation
from immortus_channels.push.revocations import announce


def revoke_access(subject: object) -> None:
    """Make every server check again what the open sockets of `subject` may see; takes under a second.

    `subject` is a user, for all sockets of that user, or a job (a job, what its queue returned, or its id), for all its
    watchers. Users who still have permission keep seeing the job, so it is safe to call when in doubt. The package
    calls it when a user logs out, is disabled, or loses a permission or a group. Inside a transaction it waits for the
    commit. Never raises for a layer that is down. Raises TypeError for what is neither a user nor a job.
    """
    announce(_revocation_of(subject))


def _revocation_of(subject: object) -> Revocation:
    if hasattr(subject, "is_authenticated"):
        key = key_here(subject)
        if key is not None:
            return Revocation(user=key)
    job_id = _job_id_of(subject)
    if not is_job_id(job_id) or hasattr(subject, "is_authenticated"):
        msg = f"{quoted(subject)} is neither a saved user nor a job: give request.user, a job, or a job's id."
        raise TypeError(msg)
    return Revocation(job_id=namespaces.here(job_id))


def _job_id_of(subject: object) -> str | None:
    """Return the id of a job, of an id itself, or of a queue's result. A model's number does not count as one."""
    job_id = text_of(subject) or text_of(getattr(subject, "job_id", None))
    if job_id is not None:
        return job_id
    results = (queue.job_of(subject) for queue in queues.connected)
    found = next((result[0] for result in results if result is not None), getattr(subject, "id", None))
    return found if isinstance(found, str) else None
