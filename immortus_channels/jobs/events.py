"""Facts about a job, one class each.

Queue adapters, running jobs and outside callers report what happened; `lifecycle.apply` decides what it means. An event
may arrive late, twice or out of order. Every event of a run carries the run's id, so that a fact about an older run
cannot touch a newer one, and everything its sender knows of the job's origin, so that it can create the record when it
is the first to arrive.

A new event declares its `traits` here and gets a line in `lifecycle.apply`; the tests name an event that lacks either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from immortus_channels.jobs.job import JSON, Error, Job, Number
from immortus_channels.keys import namespace_of

CancelPolicy = Literal["ask", "terminate", "never"]
"""How a cancel may stop a running job: ask it, end its process, or neither."""
PageHook = Literal["on_ready", "on_failed"]
"""The hooks of a job's handler that the job's page calls once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The sender's knowledge of a job, which travels with the job's message.

    `namespace` is the job's, and `owner` a key. `send_id` names one sending of the job: the same id again is a
    duplicate, another one a deliberate new life. `staff_only` says that the job's owner is unknown. `eta` is the
    earliest start in microseconds since 1970.
    """

    send_id: str = ""
    namespace: str = ""
    owner: str | None = None
    staff_only: bool = False
    queue: str = ""
    handler: str = ""
    cancel: CancelPolicy = "ask"
    eta: int | None = None
    params: Mapping[str, JSON] | None = None
    data: Mapping[str, JSON] | None = None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the origin on the job's record: within one life of the job that counts, whatever a message says."""
        kept = {name: getattr(job, name) for name in cls.__slots__ if name not in ("eta", "namespace")}
        return cls(namespace=namespace_of(job.job_id), **kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a run has reported so far: complete, so that losing an earlier report loses nothing.

    `step` counts the steps that the run has begun; progress never moves back within one. `counted` says that the run
    counts the step's items, and that what is tracked is part of one of them; `within` is the share of it that is done.
    """

    step: int = 0
    current: Number = 0
    total: Number | None = None
    percentage: float | None = None
    counted: bool = False
    within: float = 0.0
    message: str | None = None
    meta: Mapping[str, JSON] = field(default_factory=dict)
    data: Mapping[str, JSON] = field(default_factory=dict)
    result: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits that every event of a class shares.

    `proves_job`: the event makes the job's record where the store has none. `proves_run`: a run of the job has begun,
    even if the job was cancelled before. `ends_run`: the event ends a run, so it is written even where its report
    cannot be. `hook` is the strategy's method for the event while the store is silent ("": none); once the store has
    answered, the job's new state decides. None: the event never calls a hook. `makes_record`: the job has most likely
    no record yet, so a write tries that before it reads.
    """

    proves_job: bool
    proves_run: bool
    ends_run: bool
    hook: str | None
    makes_record: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact about the job `job_id`; `run_id` is empty when the fact is not about one run of it.

    `queue` names the queue that says so ("": it is not a queue, or does not matter): of another queue's job it says
    nothing. `strategy_meta` is the current meta of the job's strategy (None: the strategy was not asked).
    """

    traits: ClassVar[Traits]

    job_id: str
    job_class: str = ""
    run_id: str = ""
    queue: str = ""
    origin: Origin | None = None
    report: Report | None = None
    strategy_meta: Mapping[str, JSON] | None = None


class Planned(Event):
    """The job is a later member of a chain or chord that was sent; its own sending will follow."""

    traits = Traits(proves_job=True, proves_run=False, ends_run=False, hook="job_enqueued", makes_record=True)


class Reported(Event):
    """A living run reported its progress."""

    traits = Traits(proves_job=True, proves_run=True, ends_run=False, hook="", makes_record=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued(Event):
    """The run gave the job back to the queue, which runs it again, not before `eta` (microseconds since 1970)."""

    traits = Traits(proves_job=True, proves_run=True, ends_run=True, hook="", makes_record=False)

    eta: int | None = None


class CancelRequested(Event):
    """A user or caller with the permission asked the job to stop."""

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)


class Overdue(Event):
    """A reader found the job's lease expired; `lifecycle.apply` checks the lease again."""

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)


class Disowned(Event):
    """The job's owner was deleted."""

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued(Event):
    """A sender is about to hand the job to its queue, or has just done so; `is_confirmed` says that the queue has it.

    `sent_at` is when, by the sender's clock: microseconds since 1970. It is given where the job's message has no room
    for the origin: a run may then be told before the sending that brought it about. None: the message carries it.
    """

    traits = Traits(proves_job=True, proves_run=False, ends_run=False, hook="job_enqueued", makes_record=True)

    sent_at: int | None = None
    is_confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A worker has begun a run of the job, at `began` by its own clock: microseconds since 1970."""

    traits = Traits(proves_job=True, proves_run=False, ends_run=False, hook="job_started", makes_record=False)

    began: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched(Event):
    """Nothing happened, but the record must become newer than what browsers hold: above the version `above`."""

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)

    above: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(Event):
    """A caller made a record by hand; it holds no lease. `creation` tells one making from another.

    If a queue has announced the job, its record gets the handler and the data. The event calls no hook: nothing was
    sent, and the hook belongs to the sending.
    """

    traits = Traits(proves_job=True, proves_run=False, ends_run=False, hook=None, makes_record=True)

    creation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Event):
    """A page wants to call a hook of the job's handler that is called once; `claim` tells one claim from another."""

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)

    hook: PageHook
    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """The run returned; `completed` is false when the strategy says that the job continues without it.

    `by_hand` says that a caller outside the run called `complete()`.
    """

    traits = Traits(proves_job=True, proves_run=True, ends_run=True, hook="job_finished", makes_record=False)

    completed: bool = True
    by_hand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """The run ended and the job will run again, not before `eta` (microseconds since 1970).

    `is_sent` says that its queue has the message of the next run.
    """

    traits = Traits(proves_job=True, proves_run=True, ends_run=True, hook="job_retrying", makes_record=False)

    eta: int | None = None
    is_sent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsuccessful(Event):
    """The job ended unfinished; code and message are safe for end users.

    `unstarted` says that the message ended before its start: the event knows nothing of the run that another message of
    the same job may have begun. Without an origin it makes no record: queues say it of tasks that are not tracked, too.
    """

    code: str = "error"
    message: str = ""
    unstarted: bool = False

    @property
    def error(self) -> Error:
        """The reason why the job ended, as its document shows it."""
        return Error(code=self.code, message=self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Unsuccessful):
    """The job failed.

    `stopped` says that it ended as a job does that was asked to stop: if it was, it is cancelled and has not failed.
    `by_hand` says that a caller outside the run called `fail()`.
    """

    traits = Traits(proves_job=True, proves_run=True, ends_run=True, hook="job_failed", makes_record=False)

    stopped: bool = False
    by_hand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Unsuccessful):
    """A person, or something before the job, kept it from going on.

    `after_run` names the run that gave way to others when one of them did not succeed.
    """

    traits = Traits(proves_job=True, proves_run=False, ends_run=True, hook="job_cancelled", makes_record=False)

    code: str = "cancelled"
    after_run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed(Event):
    """The strategy was asked again; `completed` is its answer (None: the strategy has no say)."""

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)

    completed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated(Event):
    """A caller outside the run set progress, meta, data or the result; None leaves a field alone.

    `by` names the handle that it used.
    """

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)

    current: Number | None = None
    advance: Number | None = None
    total: Number | None = None
    percentage: float | None = None
    message: str | None = None
    meta: Mapping[str, JSON] = field(default_factory=dict)
    data: Mapping[str, JSON] = field(default_factory=dict)
    result: JSON = None
    by: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether the event changes the document; data does not belong to that."""
        return self.is_progress or bool(self.meta) or self.message is not None or self.result is not None

    @property
    def is_progress(self) -> bool:
        """Whether the event gives any number."""
        return any(value is not None for value in (self.current, self.advance, self.total, self.percentage))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Event):
    """A loop outside the job's run, named `loop` and of the handle `by`, has gone on.

    It has done `done` of its `total` items (None: unknown; a part of the item at work included). Since its last event
    those are `advance` whole ones more, and `within` more or less of a further one.
    """

    traits = Traits(proves_job=False, proves_run=False, ends_run=False, hook="", makes_record=False)

    loop: str = ""
    by: str = ""
    total: Number | None = None
    done: Number = 0
    advance: Number = 0
    within: float = 0.0
    begins: bool = False
    ends: bool = False
    message: str | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the event tells of an item or of a loop that begins."""
        return self.begins or self.advance > 0
