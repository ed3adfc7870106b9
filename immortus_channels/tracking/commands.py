"""Commands to a job from outside: to stop, to claim a hook of its page, to raise its version above another."""

from __future__ import annotations

import uuid

from immortus_channels import queues
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import CancelRequested, Claimed, PageHook, Touched
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.versions import is_believable
from immortus_channels.stores import get_store
from immortus_channels.tracking.publisher import hand_over
from immortus_channels.tracking.queue_cancels import recaller
from immortus_channels.tracking.throttle import Pace
from immortus_channels.writer import Write, get_writer, perform


def cancel(job_id: str) -> Job | None:
    """Ask for a job's cancellation; return the job after it, None for an unknown id.

    A waiting job is cancelled at once; a running one is asked, or its process ended if its task allows that. A run in
    this process knows it when this returns. Raises StoreUnavailable when the store does not answer within 2 seconds; a
    write that waits for the caller's own transaction is not waited for. The queue learns of it in any case.
    """
    known = get_store().get_many([job_id]).jobs.get(job_id)
    if known is None or known.is_over or known.cancel == "never":
        return known
    asked = CancelRequested(job_id=job_id, job_class=known.job_class)
    waits = get_store().waits_for_caller()
    write = hand_over(asked, wait=0 if waits else 2.0)
    confirmed = write.after if write.is_known else None
    after = confirmed or known.but(cancel_requested=True)
    get_writer().learn(after)
    _ask_queue_to_drop(after)
    if confirmed is None and not waits:
        msg = f"The store did not confirm the cancellation of {job_id!r} in time; the writer will ask again later."
        raise StoreUnavailable(msg)
    return after


def _ask_queue_to_drop(job: Job) -> None:
    """Ask the queue to drop the job: it may save itself the work, and it alone can end a process."""
    queue = queues.by_name(job.queue)
    terminate = job.cancel == "terminate" and job.state is State.RUNNING
    if queue is not None and (terminate or job.is_over):
        recaller.recall(queue, job, terminate=terminate)


def claim(job: Job, hook: PageHook) -> bool:
    """Return whether the caller may call this hook of the job's page; only one caller ever may.

    Written here and now, not by the writer: a claim confirmed later would never be used. Raises StoreUnavailable.
    """
    if hook in job.claims:
        return False
    event = Claimed(job_id=job.job_id, hook=hook, claim=uuid.uuid4().hex)
    write = Write(event)
    perform(write)
    return write.after is not None and write.after.claims.get(hook) == event.claim


LIFT_AGAIN = 5.0
"""Seconds until a client's claim may raise the same job again, which costs a write."""
_lifts = Pace()


def lift_above(job: Job, have: int) -> Job:
    """Return the job, made newer than a client's version `have` if believable: the client drops older ones."""
    if job.version >= have or not is_believable(have) or not _lifts.is_due(job.job_id, LIFT_AGAIN):
        return job
    write = get_writer().submit(Touched(job_id=job.job_id, above=have))
    return write.after if write.is_known and write.after is not None else job


def touch(job_id: str, above: int) -> None:
    """Raise the job's version above the one that browsers hold: its store went back in time."""
    get_writer().submit(Touched(job_id=job_id, above=above))
