"""The meaning of an event for a job: every legal transition, in one pure function.

`apply` runs inside each store's compare-and-set, as often as the store repeats that. It returns the very same job when
the event changes nothing, as for duplicates, stragglers and refused events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

from immortus_channels.jobs import counting, events
from immortus_channels.jobs.events import Event, Origin, Report
from immortus_channels.jobs.job import Error, Job, State

SECOND = 1_000_000
DELETED_OWNER = ""
"""The owner of a job whose owner was deleted: with None, every user who knows the job's id could see it."""
_REMEMBERED = 16
"""How many earlier runs and sendings a job remembers, to refuse their stragglers."""
_FURTHEST = 86_400 * SECOND
"""Microseconds by which a version may be lifted ahead of the clock: it may come from a browser."""
_STEPS = 1 << 14
CLOCKS = 60 * SECOND
"""Microseconds by which the clocks of two hosts may differ."""
_AT_REST = {"error": None, "finished_at": None, "stalled": False, "lease_until": None, "lease_holder": ""}
"""The fields of a job that has no lease and no end, and is not silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """The limits of silence after which a job counts as overdue, in microseconds.

    `sending`: from the record until the queue took the message, and from a retry without a confirmed sending until it
    runs. `waiting`: from the time a job is due until it starts. `running`: between two signs of life. `stalled`: from
    then until the job is lost.
    """

    sending: int = 60 * SECOND
    waiting: int = 86_400 * SECOND
    running: int = 15 * SECOND
    stalled: int = 45 * SECOND


DEFAULT_LEASES = Leases()


def apply(job: Job | None, event: Event, *, now: int, leases: Leases = DEFAULT_LEASES) -> Job | None:
    """Return the job after `event`, at `now` microseconds since 1970 by the store's clock.

    `job` is None when the store has no record of it: an event that proves the job's existence makes one.
    """
    if job is None:
        if not event.traits.proves_job or _is_of_any_task(event):
            return None
        job = Job(job_id=event.job_id, job_class=event.job_class, staff_only=event.origin is None)
    after = _change(job, event, now, leases)
    if after == job and job.version and not isinstance(event, events.Touched) and after.to_record() == job.to_record():
        return job  # 1 and True are equal, and differ in the record
    return after.but(version=_next_version(after, event, now))


def _is_of_any_task(event: Event) -> bool:
    """Return whether a queue tells how a message ended that no worker ran, and does not know whether it is a job's."""
    return isinstance(event, events.Unsuccessful) and event.unstarted and event.origin is None


def _next_version(after: Job, event: Event, now: int) -> int:
    """Return a version above the job's and above the browsers' own; the store's clock once that is ahead of both.

    While it is not (it was set back, or a failover put another host's in its place), the step depends on what is
    written: with steps of one, the history that a failover lost and the one that follows it would share a version.
    """
    above = event.above if isinstance(event, events.Touched) and event.above < now + _FURTHEST else 0
    last = max(after.version, above)
    return now if now > last else last + 1 + crc32(after.to_record().encode()) % _STEPS


def _change(job: Job, event: Event, now: int, leases: Leases) -> Job:
    """Return the job after `event`, with its version unchanged."""
    if is_foreign(job, event.queue, event.origin) or _plans_another(job, event):
        return job
    known = _identify(job, event)
    current = _enter_run(known, event, now, leases) if event.run_id else known
    if current is None or _is_refused(current, event):
        return job
    if event.strategy_meta is not None and event.strategy_meta != current.strategy_meta:
        current = current.but(strategy_meta=event.strategy_meta, event="meta")
    return _move(current, event, now, leases)


def _move(  # noqa: C901, PLR0911, PLR0912 - one line for each kind of event reads best
    current: Job, event: Event, now: int, leases: Leases
) -> Job:
    """Return the job, already identified and in its run, after an event that is not refused."""
    match event:
        case events.Enqueued():
            return _enqueue(current, event, now, leases)
        case events.Planned():
            return _plan(current, event, now, leases)
        case events.Created():
            return _create(current, event, now)
        case events.Claimed():
            return _claim(current, event)
        case events.Reported():
            return _report(current, event, now, leases)
        case events.Finished():
            return _finish(current, event, now)
        case events.Retrying():
            patience = leases.waiting if event.is_sent else leases.sending
            return _run_again(current, event, now, State.RETRYING, max(now, event.eta or now) + patience)
        case events.Requeued():
            return _run_again(current, event, now, State.ENQUEUED, max(now, event.eta or now) + leases.waiting)
        case events.Failed(stopped=True) if current.cancel_requested:
            return _fail(current, event, now, State.CANCELLED, Error(code="cancelled"))
        case events.Failed():
            return _note_hand(current, _fail(current, event, now, State.FAILED, event.error), by_hand=event.by_hand)
        case events.Cancelled():
            return _fail(current, event, now, State.CANCELLED, event.error)
        case events.CancelRequested():
            return _request_cancel(current, now)
        case events.Overdue():
            return _judge_silence(current, now, leases)
        case events.Refreshed(completed=True) if not _has_ended(current):
            return _end_job(current, now, State.FINISHED)
        case events.Updated():
            return _update(current, event, now)
        case events.Counted():
            return _count(current, event, now)
        case events.Disowned():
            return current.but(owner=DELETED_OWNER)
        case events.Started() | events.Touched() | events.Refreshed():
            return current
    msg = f"The lifecycle does not know what {type(event).__name__} means for a job."
    raise TypeError(msg)


def is_foreign(job: Job, queue: str, origin: Origin | None) -> bool:
    """Return whether what this queue, or this sender, says is not about the job, whose id it uses.

    The job may be another queue's. Or it was made by hand for a user, whose it is until it is over: no other user's
    sending becomes part of it.
    """
    if origin is None or not job.creation or job.is_over:
        return job.is_of_another(queue)
    return job.is_of_another(queue) or (_is_another_sending(job, origin) and _is_of_another_user(job, origin))


def _plans_another(job: Job, event: Event) -> bool:
    """Return whether this plans what its sending makes a job of its own: this one is over, or another user's."""
    origin = event.origin or Origin()
    is_another_users = bool(job.creation) and _is_of_another_user(job, origin)
    return isinstance(event, events.Planned) and (job.is_over or is_another_users)


def _is_of_another_user(job: Job, origin: Origin) -> bool:
    return job.owner is not None and origin.owner is not None and job.owner != origin.owner


def _identify(job: Job, event: Event) -> Job:
    """Return the job with its class and queue and, when its record was made without one, its origin.

    The event of a new life says nothing of the one before it.
    """
    origin = event.origin
    if origin is not None and _is_sent_again(job, origin):
        return job
    if (event.job_class and not job.job_class) or (event.queue and not job.queue):
        job = job.but(job_class=job.job_class or event.job_class, queue=job.queue or event.queue)
    unknown = job.staff_only or (job.version == 0 and not job.send_id)
    if origin is None or not unknown or _is_late(job, event):
        return job
    tells_less = bool(job.send_id) and not origin.send_id and not isinstance(event, events.Created)
    return job if tells_less else _adopt(job, origin)


def _adopt(job: Job, origin: Origin) -> Job:
    """Return the job with what its sender knows; what is already on record wins."""
    return job.but(
        owner=origin.owner if job.owner is None else job.owner,
        staff_only=origin.staff_only and job.owner is None,
        send_id=origin.send_id or job.send_id,
        queue=origin.queue or job.queue,
        cancel=origin.cancel if origin.send_id or not job.send_id else job.cancel,
        handler=job.handler or origin.handler,
        params={**(origin.params or {}), **job.params},
        data={**(origin.data or {}), **job.data},
    )


# Runs


def _enter_run(job: Job, event: Event, now: int, leases: Leases) -> Job | None:
    """Return the job in the event's run, which begins here if it is new; None when the run is refused.

    Any event of an unknown run begins that run, so a lost `Started` costs nothing; if the job is over and was sent
    again, the event begins that life as well. Only `Started` is refused for a job that was cancelled, or ended by hand,
    while it waited: the worker then does not run it.
    """
    if event.run_id == job.run_id:
        return job
    if event.origin is not None and event.run_id not in job.past_ids and _is_sent_again(job, event.origin):
        job = _begin_life(job, event, event.origin, now)
    if event.run_id in job.past_ids or (_is_called_off(job, event) and not event.traits.proves_run):
        return None
    return counting.begun(job, 0, None, "").but(
        attempt=job.attempt + 1 if job.run_id or job.is_over else job.attempt,
        state=State.RUNNING,
        event="job_started",
        run_id=event.run_id,
        past_ids=_past_ids(job, job.run_id),
        message="",
        run_step=0,
        error=None,
        result=None,
        stalled=False,
        ended_by_hand=False,
        started_at=now,
        began_at=event.began if isinstance(event, events.Started) else None,
        finished_at=None,
        lease_until=now + leases.running,
        lease_holder=event.run_id,
    )


def _is_called_off(job: Job, event: Event) -> bool:
    """Return whether the job was cancelled, or ended by hand before its queue had begun to run the message."""
    is_sent = event.origin is not None and bool(event.origin.send_id)
    return job.state is State.CANCELLED or (job.ended_by_hand and is_sent)


def _past_ids(job: Job, *ids: str) -> tuple[str, ...]:
    """Return the job's past ids with these as the latest."""
    return (*job.past_ids, *(i for i in ids if i and i not in job.past_ids))[-_REMEMBERED:]


def _is_refused(job: Job, event: Event) -> bool:
    """Return whether the job refuses its newest run's events: only one at work, or believed lost, may report."""
    if event.run_id:
        return job.state not in (State.RUNNING, State.LOST)
    return event.traits.proves_run and _has_ended(job)


def _has_ended(job: Job) -> bool:
    """Return whether the job is over for good: one that was only believed lost may report again."""
    return job.is_over and job.state is not State.LOST


def _merge_report(job: Job, report: Report | None) -> Job:
    """Return the job with everything its run has reported."""
    if report is None:
        return job
    job = job.but(
        meta={**job.meta, **report.meta},
        data={**job.data, **report.data},
        result=job.result if report.result is None else report.result,
    )
    return counting.merged(job, report)


def _report(job: Job, event: events.Reported, now: int, leases: Leases) -> Job:
    after = _merge_report(job, event.report)
    until = now + leases.running
    if job.state is State.LOST:
        return _enter_state(after, State.RUNNING, lease_until=until, lease_holder=event.run_id)
    if after == job and not job.stalled:
        return after
    after = after.but(event="meta")
    return after.but(stalled=False, lease_until=until) if after.lease_holder else after


def _run_again(job: Job, event: events.Retrying | events.Requeued, now: int, state: State, until: int) -> Job:
    """Let a job that has ended a run, but is not over, wait for its next run, at most until `until`."""
    after = _merge_report(job, event.report)
    if job.cancel_requested:
        return _end_job(after, now, State.CANCELLED, Error(code="cancelled"))
    return _enter_state(after, state, lease_until=until)


def _enter_state(job: Job, state: State, **changes: object) -> Job:
    """Return the job in `state` with these changes, without its earlier lease, end and silence."""
    fields: dict[str, Any] = {"event": state.hook, **_AT_REST, **changes}
    return job.but(state=state, **fields)


# Before a run


def _create(job: Job, event: events.Created, now: int) -> Job:
    """Make the record by hand, once; everything that the queue and the job have reported already stays."""
    if job.creation:
        return job
    origin = event.origin or Origin()
    return job.but(
        creation=event.creation,
        event="meta" if job.version else job.event,
        enqueued_at=job.enqueued_at if job.version else now,
        handler=origin.handler or job.handler,
        data={**(origin.data or {}), **job.data},
    )


def _enqueue(job: Job, event: events.Enqueued, now: int, leases: Leases) -> Job:
    """Let a first sending make the job wait, and a second one of a job that is over, or silent, start a new life.

    A second sending of a job that is not over changes nothing, least of all one by another sender. One that is told
    after its run has begun leaves the job where that has brought it.
    """
    origin = event.origin or Origin()
    until = max(now, origin.eta or now) + leases.waiting if event.is_confirmed else now + leases.sending
    if job.version and origin.send_id in (job.send_id, *job.past_ids):
        is_its_own = event.is_confirmed and origin.send_id == job.send_id
        return _confirm(job, until) if is_its_own else job
    if _is_late(job, event):
        return _adopt(job, origin).but(enqueued_at=job.enqueued_at or min(event.sent_at or now, job.started_at or now))
    is_senders = (origin.owner, origin.staff_only) == (job.owner, job.staff_only)
    if _is_sent_again(job, origin) or _is_silent(job, now, 0 if is_senders or job.stalled else leases.stalled):
        job = _begin_life(job, event, origin, now)
    elif job.is_over:  # it was cancelled before its turn came, and this is the sending that it waited for
        return job.but(send_id=origin.send_id) if job.creation else job
    elif is_senders and _is_unconfirmed(job, leases):
        job = job.but(send_id=origin.send_id, past_ids=_past_ids(job, job.send_id))
    elif job.version:
        if job.send_id or job.run_id:
            return job
        job = _adopt(job, origin)
    return job.but(
        state=State.ENQUEUED,
        event="job_enqueued",
        enqueued_at=now,
        started_at=None,
        lease_until=until,
        lease_holder=origin.send_id,
    )


def _confirm(job: Job, until: int) -> Job:
    """Let a job whose queue has its message wait until `until`, also one that was believed not to be sent.

    The message may have waited for a transaction that took longer than the sender's lease. Like any job that was over,
    this one is in its next attempt then.
    """
    is_given_up = job.error is not None and job.error.code == "not_sent" and not (job.run_id or job.ended_by_hand)
    if is_given_up:
        job = _enter_state(job, State.ENQUEUED, lease_holder=job.send_id).but(attempt=job.attempt + 1)
    return job.but(lease_until=until) if job.state is State.ENQUEUED and job.lease_holder else job


def _is_late(job: Job, event: Event) -> bool:
    """Return whether a sending is told after the run that it brought about: it only says what its sender knows."""
    if not isinstance(event, events.Enqueued) or event.sent_at is None or job.send_id or not job.run_id:
        return False
    return job.started_at is not None and job.started_at > event.sent_at - CLOCKS


def _is_sent_again(job: Job, origin: Origin) -> bool:
    """Return whether this is another sending of a job that is over; one cancelled before its turn came has had none."""
    has_begun = bool(job.send_id or job.run_id) or _is_cancelled_for_another(job) or _was_never_a_queues(job, origin)
    return job.is_over and _is_another_sending(job, origin) and has_begun


def _is_another_sending(job: Job, origin: Origin) -> bool:
    return bool(origin.send_id) and origin.send_id not in (job.send_id, *job.past_ids)


def _was_never_a_queues(job: Job, origin: Origin) -> bool:
    """Return whether the job, which is over, was made by hand and announced by no queue, so that it awaits no sending.

    A cancelled one may: its user does not want what is about to be sent. Another user's sending is not that.
    """
    is_by_hand = bool(job.creation) and not job.job_class
    return is_by_hand and (job.state is not State.CANCELLED or _is_of_another_user(job, origin))


def _is_silent(job: Job, now: int, grace: int) -> bool:
    """Return whether the run's lease ended at least `grace` ago, without a report and without a check by any reader."""
    return job.state is State.RUNNING and job.lease_until is not None and job.lease_until + grace <= now


def _begin_life(job: Job, event: Event, origin: Origin, now: int) -> Job:
    """Return the job, sent again: with its new sender and task, and nothing from its earlier life."""
    waiting = Job(
        job_id=job.job_id,
        job_class=event.job_class or job.job_class,
        queue=job.queue or event.queue,
        version=job.version,
        attempt=job.attempt + 1,
        step=job.step + 1,
        past_ids=_past_ids(job, job.run_id, job.send_id),
        enqueued_at=now,
    )
    return _adopt(waiting, origin)


def _plan(job: Job, event: events.Planned, now: int, leases: Leases) -> Job:
    """Let the job wait for those before it; the first of them may be due much later."""
    due = max(now, (event.origin and event.origin.eta) or now)
    return job if job.version else job.but(send_id="", enqueued_at=now, lease_until=due + leases.waiting)


def _is_cancelled_for_another(job: Job) -> bool:
    """Return whether the job was cancelled because one before it failed; a new run of that one proves the contrary."""
    return job.state is State.CANCELLED and job.error is not None and job.error.code == "upstream"


# Ends


def _end_job(job: Job, now: int, state: State, error: Error | None = None) -> Job:
    return _enter_state(job, state, error=error, finished_at=now)


def _fail(job: Job, event: events.Unsuccessful, now: int, state: State, error: Error) -> Job:
    """End the job unfinished, unless it is over or the event is about another message or run of it."""
    if _has_ended(job) or _is_about_another(job, event):
        return job
    return _end_job(_merge_report(job, event.report), now, state, error)


def _is_about_another(job: Job, event: events.Unsuccessful) -> bool:
    """Return whether the job continues despite the event.

    A failure before a job does not cancel it once it was sent: the sending proves that everything before it went well,
    unless the job's newest run has given way to others since. And a message that no worker runs, as its task is unknown
    or as it has expired or was revoked, may be a second one of a job whose first message is at work or waits.
    """
    if isinstance(event, events.Cancelled) and event.code == "upstream" and not event.run_id:
        is_replaced = bool(event.after_run) and event.after_run == job.run_id
        return bool(job.send_id or job.run_id) and not is_replaced
    is_at_work = job.state is State.RUNNING and bool(job.lease_holder) and not job.stalled
    sent = event.origin.send_id if event.origin is not None else ""
    is_of_another_sending = bool(sent and job.send_id) and sent != job.send_id
    return event.unstarted and (is_at_work or is_of_another_sending)


def _finish(job: Job, event: events.Finished, now: int) -> Job:
    after = _merge_report(job, event.report)
    if not event.completed:
        return _enter_state(after, State.RUNNING, event="meta")
    return _note_hand(job, _end_job(after, now, State.FINISHED), by_hand=event.by_hand)


def _note_hand(before: Job, after: Job, *, by_hand: bool) -> Job:
    """Mark an end by hand that came before any run, so that the message that still waits is not run."""
    return after.but(ended_by_hand=True) if by_hand and after is not before and not before.run_id else after


def _request_cancel(job: Job, now: int) -> Job:
    """Cancel a waiting job at once, also one that waits for its strategy after its run; ask a running one to stop."""
    is_run = job.state is State.RUNNING and bool(job.lease_holder)
    if job.is_over or (is_run and job.cancel_requested):
        return job
    asked = job.but(cancel_requested=True, event="cancel_requested")
    if is_run:
        return asked
    return _end_job(asked, now, State.CANCELLED, Error(code="cancelled"))


def _judge_silence(job: Job, now: int, leases: Leases) -> Job:
    """Judge an expired lease by what the job was doing."""
    if job.is_over or job.lease_until is None or now < job.lease_until:
        return job
    if job.state is State.RUNNING and not job.stalled:
        return job.but(stalled=True, event="stalled", lease_until=now + leases.stalled)
    if _is_unconfirmed(job, leases):
        return _end_job(job, now, State.FAILED, Error(code="not_sent"))
    return _end_job(job, now, State.LOST, Error(code="lost"))


def is_lost_next(job: Job, leases: Leases) -> bool:
    """Return whether the job is lost when its lease ends: it has stalled before, or waits."""
    if job.lease_until is None or job.is_over:
        return False
    return _judge_silence(job, job.lease_until, leases).state is State.LOST


def due_at(job: Job, leases: Leases) -> int:
    """Return when a job that waits was to begin, as far as its lease tells."""
    return job.enqueued_at or 0 if _is_unconfirmed(job, leases) else (job.lease_until or 0) - leases.waiting


def _is_unconfirmed(job: Job, leases: Leases) -> bool:
    """Return whether no process has confirmed yet that the queue took the message."""
    is_sending = job.lease_until is not None and job.lease_until <= (job.enqueued_at or 0) + leases.sending
    return job.state is State.ENQUEUED and bool(job.lease_holder) and is_sending


# From outside the run


def _claim(job: Job, event: events.Claimed) -> Job:
    """Give the hook to the first claim that fits the job's end."""
    fits = job.is_over and (job.state is State.FINISHED) == (event.hook == "on_ready")
    if not fits or event.hook in job.claims:
        return job
    return job.but(claims={**job.claims, event.hook: event.claim})


def _update(job: Job, event: events.Updated, now: int) -> Job:
    job = job.but(data={**job.data, **event.data})
    if job.is_over:
        return job
    before = job
    if event.is_progress:
        job = counting.updated(_set_going(job, now), event)
    after = job.but(
        message=job.message if event.message is None else event.message,
        meta={**job.meta, **event.meta},
        result=job.result if event.result is None else event.result,
    )
    return _noted(before, after)


def _count(job: Job, event: events.Counted, now: int) -> Job:
    if job.is_over:
        return job
    after = counting.counted(_set_going(job, now), event)
    return _noted(job, after if event.message is None else after.but(message=event.message))


def _noted(before: Job, after: Job) -> Job:
    """Return the job with the name of the change, if there is one."""
    is_told = after == before or after.state is not before.state
    return after if is_told else after.but(event="meta")


def _set_going(job: Job, now: int) -> Job:
    """Let the first progress of a job that was made by hand, and that no queue has announced, make it run.

    It holds no lease: nobody has promised a sign of life. If a queue then starts it, that is its first attempt.
    """
    is_announced = bool(job.send_id or job.run_id) or job.lease_until is not None
    if job.state is not State.ENQUEUED or not job.creation or is_announced:
        return job
    return _enter_state(job, State.RUNNING).but(started_at=now)
