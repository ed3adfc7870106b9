"""The count of a job's step: what its run, callers from outside and loops in other processes make of it together.

`Job.counter` says who counts the step: nobody yet (""), its items (`ITEMS`), loops of one handle (that handle), or of
`SEVERAL`; `ANNOUNCED` and a handle that only gave a total.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from immortus_channels.jobs.events import Counted, Report, Updated
from immortus_channels.jobs.job import LARGEST, Job, Number
from immortus_channels.jobs.progress import begins_step

ITEMS, SEVERAL, ANNOUNCED = "#", "*", "="


def begun(job: Job, current: Number, total: Number | None, counter: str) -> Job:
    """Return the job in its next step."""
    return job.but(
        step=job.step + 1,
        current=current,
        total=total,
        given_percentage=None,
        within=0.0,
        inner={},
        outside=0,
        counter=counter,
    )


def merged(job: Job, report: Report) -> Job:
    """Return the job with the progress that its run reports: everything it has counted, in its own step."""
    if report.step < job.run_step:
        return job
    if report.step > job.run_step:
        job = begun(job, report.current, report.total, "").but(run_step=report.step, message="")
    elif _is_of_loops(job):
        report = replace(report, current=0, within=0.0, counted=False, percentage=None)
    after = _moved_to(job, report.current + job.outside, report.within)
    return after.but(
        total=report.total if report.step and not _is_of_loops(job) else job.total,
        counter=ITEMS if report.counted else job.counter if _is_of_loops(job) or not report.step else "",
        given_percentage=job.given_percentage if report.percentage is None else report.percentage,
        message=job.message if report.message is None else report.message,
    )


def updated(job: Job, event: Updated) -> Job:
    """Return the job after the numbers that a caller outside its run gave."""
    is_count = event.current is not None or event.advance is not None
    if event.total is not None and begins_step(event.current, event.total, job.current, job.total):
        job = begun(job, event.current or 0, event.total, ITEMS if is_count else f"{ANNOUNCED}{event.by}")
    advance = max(event.advance or 0, 0)
    after = _moved_to(job, max(job.current, event.current or 0) + advance, 0.0)
    changes: dict[str, Any] = {}
    if job.run_id:  # the run counts on its own: what it reports comes on top
        changes["outside"] = job.outside + advance
    elif is_count and job.counter in ("", f"{ANNOUNCED}{event.by}"):
        changes["counter"] = ITEMS
    if event.percentage is not None:
        changes["given_percentage"] = event.percentage
    return after.but(**changes)


def counted(job: Job, event: Counted) -> Job:
    """Return the job after a loop outside its run went on: inside of the item at work, or with items of its own."""
    if event.begins:
        job = _joined(job, event)
    if _contains(job):
        return _inside(job, event)
    return job.but(
        current=min(job.current + event.advance, LARGEST),
        outside=job.outside + event.advance if job.run_id else 0,
        within=max(job.within + event.within, 0.0),
    )


def _moved_to(job: Job, current: Number, within: float) -> Job:
    """Return the job as far as the farther of both places; the next item has nothing inside of it yet."""
    current = min(current, LARGEST)
    if current <= job.current:
        return job.but(within=max(job.within, within)) if current == job.current else job
    return job.but(current=current, within=job.within if _is_shared(job) else within, inner={})


def _is_shared(job: Job) -> bool:
    """Return whether several handles count the step: then `within` is the sum of what each has done of an item."""
    return job.counter not in ("", ITEMS)


def _is_of_loops(job: Job) -> bool:
    """Return whether loops outside the run began the step."""
    return _is_shared(job) and not job.counter.startswith(ANNOUNCED)


def _is_open(job: Job) -> bool:
    return job.total is not None and job.current < job.total


def _contains(job: Job) -> bool:
    """Return whether a loop is part of one of the step's items."""
    return job.counter == ITEMS and _is_open(job)


def _joined(job: Job, event: Counted) -> Job:
    """Return the job with a loop that begins: unless it is part of an item, it adds its items to those of others.

    Where a total was announced, by others, that stays. A loop of the handle that alone has counted is the next step.
    """
    if _contains(job):
        return job
    if _is_of_loops(job) and job.counter != event.by:
        total = None if job.total is None or event.total is None else job.total + event.total
        return job.but(total=total, counter=SEVERAL)
    if _is_open(job) and job.counter != f"{ANNOUNCED}{event.by}" and not _is_of_loops(job):
        return job.but(counter=job.counter or ANNOUNCED)
    return begun(job, 0, event.total, event.by)


def _inside(job: Job, event: Counted) -> Job:
    """Return the job with the item at work as far as the loops inside of it are, together."""
    inner = {loop: place for loop, place in job.inner.items() if loop != event.loop}
    if event.total:
        inner[event.loop] = [min(event.done, event.total), event.total]
    size = sum(total for _, total in inner.values())
    share = sum(done for done, _ in inner.values()) / size if size else 0.0
    if event.ends:
        inner.pop(event.loop, None)
    return job.but(inner=inner, within=max(job.within, share))
