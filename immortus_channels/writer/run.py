"""One run of a job in this process, as its task uses it: in a hot loop only a counter moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from threading import RLock, get_ident
from typing import ClassVar, Never, Self, TypeVar

from immortus_channels import current
from immortus_channels.exceptions import JobCancelled
from immortus_channels.jobs.events import Event, Origin
from immortus_channels.jobs.job import LARGEST, Job, Number, State
from immortus_channels.jobs.lifecycle import is_foreign
from immortus_channels.jobs.owner import current_owner, is_owner_known
from immortus_channels.jobs.progress import begins_step, begins_step_after_loop
from immortus_channels.keys import name_in
from immortus_channels.logs import logger
from immortus_channels.threads import await_in_thread, strand_here
from immortus_channels.writer import inside, late_reports
from immortus_channels.writer.draft import Draft
from immortus_channels.writer.inside import InnerStep, ItemAtWork, Loop
from immortus_channels.writer.values import clean_message, clean_number, clean_total

Item = TypeVar("Item")

SILENCE = 0.5
"""Seconds of the store's silence after which a run's next step asks whether the job was asked to stop."""


class Run(Draft):
    """One run of a job; the writer's thread sets `cancel_requested` and `attempt` to what the store has."""

    __slots__ = (
        "_end", "_has_asked", "_home", "_listen", "_was_told", "around", "attempt", "cancel_requested", "ended",
        "heard_at", "is_closed", "is_foreign", "is_forked", "job_class", "known", "looks_always", "must_look", "origin",
        "queue", "refused", "run_id", "strategy",
    )  # fmt: skip

    is_share: ClassVar[bool] = False
    """Whether it is a share of a job's work outside of its run, and holds no lease."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        job_id: str,
        job_class: str,
        run_id: str,
        queue: str = "",
        origin: Origin | None = None,
        strategy: object = None,
        around: Run | None = None,
        notify: Callable[[Run], None] = lambda _: None,
        listen: Callable[[Run], None] = lambda _: None,
        end: Callable[..., Job | None] = lambda *_, **__: None,
    ) -> None:
        given = origin or Origin()
        super().__init__(job_id, given.data or {}, given.params or {}, notify)
        self.job_class, self.run_id, self.origin = job_class, run_id, origin
        self.queue = queue
        """The queue that runs it, where that matters: another queue's job may have its id."""
        self.is_foreign = False
        """Whether the id is that of another queue's or user's job, so that nothing is said of this run."""
        self.strategy = strategy
        self.around = around
        """The run that this one began in."""
        self.attempt = 1
        self.refused = False
        self.is_closed = self.is_forked = False
        self.cancel_requested = False
        """Whether a cancel was requested, as far as this process knows."""
        self._home = get_ident()
        """The thread in which the run began."""
        self.must_look = False
        """Whether the next step has to `look`: a step in a hot loop reads nothing else."""
        self.looks_always = False
        """Whether each step looks, as no writer's thread marks the runs that should."""
        self.heard_at = time.monotonic()
        """When, by the monotonic clock, the store last answered about the job."""
        self.known: str | None = None
        """The job's record, as far as this process knows: text, because a task may change what it is given."""
        self.ended: Job | None = None
        """The job as the store has it after the end of the block that ran it; None if the store was silent."""
        self._listen, self._end = listen, end
        self._has_asked = False
        """Whether the store was asked who sent the job."""
        self._was_told = False
        """Whether a line was logged of what its loop counts already."""

    def started(self, job: Job | None) -> None:
        """Take over the store's answer to the start of this run (None: it did not answer in time)."""
        if job is None:
            return
        self.is_foreign = is_foreign(job, self.queue, self.origin)
        self.refused = not self.is_foreign and (job.is_over or (bool(job.run_id) and job.run_id != self.run_id))
        if not (self.is_foreign or self.refused):
            self.learn(job)

    def learn(self, job: Job) -> None:
        """Take over the store's answer about this run's job."""
        self.attempt, self.heard_at = job.attempt, time.monotonic()
        if job.cancel_requested:
            self.cancel_requested = self.must_look = True  # in this order: another thread reads them
        self.known = job.with_unknown_lease.to_record()
        self.params = job.params
        self.know(job)
        known = self.origin
        if known is None or (known.owner, known.staff_only) != (job.owner, job.staff_only):
            self.origin = Origin.of(job)

    @property
    def knows_sender(self) -> bool:
        """Whether it is known who sent the job, be it no user."""
        return self.origin is not None and (not self.origin.staff_only or bool(self.origin.send_id))

    @property
    def may_learn_sender(self) -> bool:
        """Whether the store may know who sent the job, and was not asked: the run may have overtaken its sending."""
        return not (self.knows_sender or self._has_asked)

    def ask_for_sender(self) -> None:
        """Ask the store once who sent the job, if that is not known; wait a moment for it, but not in an event loop."""
        if self.may_learn_sender:
            self._has_asked = True
            self._listen(self)

    @property
    def summary(self) -> str:
        """The job's class and state in a word each."""
        return f"{self.job_class} {State.RUNNING}".strip()

    @property
    def details(self) -> Self:
        """The run itself: it has what the record of any other job has."""
        return self

    @property
    def asked(self) -> set[str]:
        """The jobs that were asked to stop, as far as this process knows: this one, and those it runs in."""
        around = set() if self.around is None else self.around.asked
        return {*around, name_in(self.job_id)} if self.cancel_requested else around

    # For the task

    def track(self, iterable: Iterable[Item], total: Number | None = None, message: object = "") -> Iterator[Item]:
        """Yield the items, counting each one when the next is asked for; loops of several tasks or threads add up.

        Raises JobCancelled before the next item once a cancel was requested.
        """
        loop = self._begin(clean_total(total, iterable, self.job_id))
        if isinstance(loop, InnerStep):
            yield from self._track_inside(loop, iterable, message)
            return
        try:
            self._begin_loop(message)
            for item in iterable:
                if self.must_look:
                    self.look()
                yield item
                # No other thread can come between reading and writing here: there is no call and no jump back.
                self._current += 1
        finally:
            self._leave(loop)
            if self.is_closed and self.is_dirty:
                self._touch()

    def _begin(self, total: Number | None) -> Loop | InnerStep:
        """Return the loop that begins: part of an item at work, one more of the step, or the first of the next."""
        with self._lock:
            self.is_counting = True
            if self._contains_loop():
                step = self._step_inside(total, is_loop=True)
                inside.enter(step)
                return step
            if not self._loops and not self._is_announced_elsewhere:
                self._go_on_to(total, 0)
            elif not self._announced_in:
                self._total = None if self._total is None or total is None else self._total + total
            loop = Loop(is_at_home=self._is_home)
            self._loops.append(loop)
            inside.enter(loop)
            return loop

    def _contains_loop(self) -> bool:
        """Return whether a loop that begins here is part of an item: of one at work around it, or that is counted.

        A thread that was given the job without the run's context does not tell where it began: most likely in the loop
        of the run's own code, if there is one at work.
        """
        if not self._loops:
            return self._contains
        is_guest = not self._is_home
        is_here = inside.step_here(self._loops, self._inner, self._current) is not None
        return is_here or (is_guest and any(loop.is_at_home for loop in self._loops))

    @property
    def _is_home(self) -> bool:
        return current_run.get() is self or get_ident() == self._home

    @property
    def _is_announced_elsewhere(self) -> bool:
        """Whether another task or thread than this gave a total that is not yet reached."""
        is_open = self._total is not None and self._current < self._total
        return is_open and self._announced_in not in (0, strand_here())

    def _begin_loop(self, message: object) -> None:
        self._tell(message)

    def _track_inside(self, step: InnerStep, iterable: Iterable[Item], message: object) -> Iterator[Item]:
        try:
            self._tell(message)
            for item in iterable:
                if self.must_look:
                    self.look()
                yield item
                step.current += 1
        finally:
            self._leave(step)
            self._touch()

    def _leave(self, loop: Loop | InnerStep) -> None:
        """Forget a loop that has ended, and the steps by `update()` inside of it."""
        inside.leave(loop)
        with self._lock:
            self._reach()
            if isinstance(loop, Loop):
                self._loops = [other for other in self._loops if other is not loop]
                is_awaited = self._announced_in and self._total is not None and self._current < self._total
                self._is_step_over = not (self._loops or is_awaited)
            around = loop if isinstance(loop, InnerStep) else None
            self._inner = [
                step
                for step in self._inner
                if step is not loop and (step.is_loop or step.around is not around or (around is None and self._loops))
            ]
            self.is_counting = bool(self._loops or self._inner)

    def _step_inside(self, total: Number | None, *, is_loop: bool, instead: InnerStep | None = None) -> InnerStep:
        """Return a new step inside of the item at work of the step in which this task or thread counts."""
        with self._lock:
            self._reach()
            self._inner = [step for step in self._inner if step.lasts(self._current) and step is not instead]
            here = inside.step_here(self._loops, self._inner, self._current)
            around = here if isinstance(here, InnerStep) else None
            step = InnerStep(around, self._current if around is None else around.current, total, is_loop=is_loop)
            self._inner.append(step)
            return step

    def _tell(self, message: object) -> None:
        text = "" if message is None else clean_message(message, self.job_id)
        if text:
            self._say(text)
        self._touch()

    def _go_on_to(self, total: Number | None, current: Number) -> None:
        with self._lock:
            self._step += 1
            self._is_step_over = self._is_counted = False
            self._announced_in = 0
            self._current, self._total, self._percentage = current, total, None
            self._item = ItemAtWork()

    def update(  # noqa: C901, PLR0912 - a line or two for each argument, and no call in hot loops
        self,
        current: Number | None = None,
        total: Number | None = None,
        advance: Number | None = None,
        percentage: float | None = None,
        message: object | None = None,
    ) -> None:
        """Set what is given; `current` does not move back within a step. `jobs.progress` says what begins a step.

        Hot loops call this: it checks a plain int here, anything else by `clean_number`.
        """
        if current is not None and (type(current) is not int or not 0 <= current <= LARGEST):
            current = clean_number("current", current, self.job_id)
        if total is not None and (type(total) is not int or not 0 <= total <= LARGEST):
            total = clean_number("total", total, self.job_id)
        if advance is not None and (type(advance) is not int or not 0 <= advance <= LARGEST):
            advance = clean_number("advance", advance, self.job_id)
        if percentage is not None:
            percentage = clean_number("percentage", percentage, self.job_id)
        if advance and self.is_counting and total is None and self.counts_by_itself():
            advance = None
        may_be_inner = self.is_counting and (total is not None or self._inner)
        if may_be_inner and self.counts_inside(current, total, advance, percentage):
            current = total = advance = percentage = None
        is_next = total is not None and begins_step(current, total, self._current, self._total)
        if is_next or (self._is_step_over and begins_step_after_loop(current, total, advance, percentage)):
            self._go_on_to(total, current or 0)
            self._is_counted = current is not None
            self._announced_in = strand_here() if current is None and total is not None else 0
        elif current is not None:
            if current > self._current:
                self._current = current
            elif not current:
                self._is_counted = True
        if advance is not None:
            with self._lock:
                self._current += advance
        if self._announced_in and (advance or current) and self._announced_in == strand_here():
            self._announced_in = 0
        if percentage is not None:
            self._percentage = percentage
        if message is not None:
            self._say(clean_message(message, self.job_id))
        if not self._dirty:
            self._touch()

    def counts_by_itself(self) -> bool:
        """Return whether a loop counts the step that this code is in, and `advance` would count its items twice."""
        step = inside.step_here(self._loops, self._inner, self._current)
        is_loop = step is not None and step.is_loop
        if is_loop and not self._was_told:
            self._was_told = True
            logger.warning(
                "A loop of track() counts its items, so update(advance=…) in it adds nothing. Leave it out; "
                "update(current=…, total=…) counts within an item.",
                extra={"job_id": self.job_id},
            )
        return is_loop

    def counts_inside(
        self,
        current: Number | None = None,
        total: Number | None = None,
        advance: Number | None = None,
        percentage: float | None = None,
    ) -> bool:
        """Count in the step inside of an item that this code is in, or begins; return False where it is in none."""
        here = inside.step_here(self._loops, self._inner, self._current)
        step = here if isinstance(here, InnerStep) else None
        if total is not None:
            is_outer = current is not None and total == self._total and current >= self._current
            if (is_outer and not self._loops) or (step is None and (current is None or not self._loops)):
                return False
            if step is None or step.is_loop or begins_step(current, total, step.current, step.total):
                instead = None if step is None or step.is_loop else step
                step = self._step_inside(total, is_loop=False, instead=instead)
        if step is None:
            return False
        step.count(current, advance, percentage)
        return True

    def checkpoint(self) -> None:
        """Raise JobCancelled once a cancel was requested."""
        if self.must_look:
            self.look()

    def look(self) -> None:
        """Ask the store, if it was silent for a while, and raise JobCancelled if the job was asked to stop."""
        if not self.cancel_requested and time.monotonic() >= self.heard_at + SILENCE:
            self._listen(self)
        else:
            self.skip_looks()
        if self.cancel_requested:
            raise JobCancelled(name_in(self.job_id))

    def skip_looks(self) -> None:
        """Let the next steps pass without a look, unless the job was asked to stop, perhaps at this moment."""
        self.must_look = self.looks_always
        if self.cancel_requested:
            self.must_look = True

    def end(self, kind: type[Event], **fields: object) -> Job | None:
        """End the run, with everything it has said; return the job as the store then has it, None if it is silent."""
        return self._end(self, kind, **fields)

    def __reduce__(self) -> Never:
        """Raise TypeError: a job that runs here cannot go to another process."""
        name = name_in(self.job_id)
        msg = f"The job {name!r} runs in this process; give another its id, job.id, and let it call get_job(id)."
        raise TypeError(msg)

    # For the writer

    def after_fork(self) -> None:
        """Leave the run to the parent: only that reports on it and ends it; a thread of it may have held the lock."""
        self._lock = RLock()
        self.is_forked = self.is_closed = True

    def close(self) -> None:
        """Close the run after its last report: of what it says from now on, one line is logged."""
        self.is_closed = True
        self._notify = late_reports.note


current_run: ContextVar[Run | None] = current.run


def owner_here() -> tuple[str | None, bool]:
    """Return the owner of a job started here and now, and whether the owner is unknown.

    The owner is the starter's, where one is set; a job started inside another job inherits that job's owner.
    """
    parent = current_run.get()
    if is_owner_known() or parent is None:
        return current_owner(), False
    parent.ask_for_sender()
    if parent.origin is None:
        return None, True
    return parent.origin.owner, parent.origin.staff_only


async def aowner_here() -> tuple[str | None, bool]:
    """Return what `owner_here` does, on an event loop, which runs on if the store has to be asked."""
    parent = current_run.get()
    if parent is not None and parent.may_learn_sender and not is_owner_known():
        await await_in_thread(parent.ask_for_sender)
    return owner_here()
