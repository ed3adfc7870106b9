"""A job as the store keeps it, and the document that browsers see of it.

Standard library only, without a clock of its own: times come from the store, as integers, microseconds since 1970 in
UTC.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeAlias

from immortus_channels.keys import SEPARATOR, name_in, namespace_of

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Number: TypeAlias = "int | float"

LARGEST = 2**53 - 1
"""The largest integer that browsers hold exactly (RFC 8259, section 6)."""
MAX_DOCUMENT_BYTES = 32 * 1024
MAX_KEPT_BYTES = 128 * 1024
"""Bytes of data and params together, which no document shows: each report of a run writes them again."""
MAX_DEPTH = 64
"""Levels of arrays and objects in a document: deeper ones are a burden for every reader."""
PROGRESS_KEYS = frozenset({"current", "total", "percentage", "message"})
"""The document's own keys that meta may set as well."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class State(enum.StrEnum):
    """One of the seven states of a job; in the last four the job is over."""

    ENQUEUED = "enqueued"
    RUNNING = "running"
    RETRYING = "retrying"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_over(self) -> bool:
        """Whether a job in this state has ended."""
        return self in _OVER

    @property
    def hook(self) -> str:
        """The strategy's method for a job that comes into this state."""
        return "job_started" if self is State.RUNNING else f"job_{self}"


_OVER = frozenset({State.FINISHED, State.FAILED, State.CANCELLED, State.LOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """The reason why a job ended unfinished, in words that are safe for end users."""

    code: str
    message: str = ""

    def __post_init__(self) -> None:
        """Give a code without a sentence its general one."""
        if not self.message:
            object.__setattr__(self, "message", SENTENCES.get(self.code, SENTENCES["error"]))


def gettext_noop(sentence: str) -> str:
    """Mark a sentence for translators: `makemessages` finds it by the name of this function, which is Django's."""
    return sentence


SENTENCES: Mapping[str, str] = {
    "error": gettext_noop("Something went wrong."),
    "time_limit": gettext_noop("This took too long and was stopped."),
    "worker_lost": gettext_noop("The process that did this work ended unexpectedly."),
    "rejected": gettext_noop("This work was refused."),
    "unknown_task": gettext_noop("No worker is set up for this task."),
    "not_sent": gettext_noop("This work could not be queued."),
    "cancelled": gettext_noop("This was cancelled."),
    "expired": gettext_noop("This did not start in time."),
    "upstream": gettext_noop("A step this depended on did not succeed."),
    "lost": gettext_noop("There has been no sign of this work for too long."),
}
"""The sentence of each error code for end users; pages translate by code."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that is known of a job at one version.

    `job_id` and `owner` are keys: each begins with its namespace, if it has one.

    `lease_until` is when any reader may call the job overdue (None: never), `lease_holder` names the run or the sending
    that may renew it. `past_ids` are those of earlier runs and sendings, whose events are refused. `creation` is set
    once a caller made the record by hand; `ended_by_hand` says that a caller ended the job before a run of it began;
    `claims` has the called hooks of the job's page, each with the claim that won. `began_at` is `started_at` by the
    clock of the host that runs the job, all other times are by the store's.

    `counter` says who counts the step (`jobs.counting`), `outside` how much of `current` callers outside the run have
    added. `within` is the share done of the item at work, or the sum of those of several; `inner` has the loops of
    other processes inside of it, each with what it has done and its total.
    """

    job_id: str
    job_class: str = ""
    state: State = State.ENQUEUED
    version: int = 0
    attempt: int = 1
    event: str = "job_enqueued"

    current: Number = 0
    total: Number | None = None
    given_percentage: float | None = None
    message: str = ""
    step: int = 0
    run_step: int = 0
    counter: str = ""
    outside: Number = 0
    within: float = 0.0
    inner: Mapping[str, Sequence[Number]] = field(default_factory=dict)

    error: Error | None = None
    result: JSON = None
    meta: Mapping[str, JSON] = field(default_factory=dict)
    strategy_meta: Mapping[str, JSON] = field(default_factory=dict)
    data: Mapping[str, JSON] = field(default_factory=dict)
    params: Mapping[str, JSON] = field(default_factory=dict)

    owner: str | None = None
    staff_only: bool = False
    queue: str = ""
    handler: str = ""
    cancel: str = "ask"
    creation: str = ""
    ended_by_hand: bool = False
    claims: Mapping[str, str] = field(default_factory=dict)

    run_id: str = ""
    send_id: str = ""
    past_ids: tuple[str, ...] = field(default=(), metadata={"key": "seen"})
    lease_until: int | None = None
    lease_holder: str = ""
    cancel_requested: bool = False
    stalled: bool = False

    enqueued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    began_at: int | None = None

    @property
    def id(self) -> str:
        """The same as `job_id`."""
        return self.job_id

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.state.is_over

    def is_of_another(self, queue: str) -> bool:
        """Return whether the job is that of another queue than the one of this name ("": none)."""
        return bool(queue) and self.queue not in ("", queue)

    def but(self, **changes: Any) -> Self:
        """Return the job with these changes, in a tenth of the time that `dataclasses.replace` needs."""
        if not changes.keys() <= _NAMES_OF_FIELDS:
            msg = f"A job has no {', '.join(changes.keys() - _NAMES_OF_FIELDS)}."
            raise TypeError(msg)
        after = object.__new__(type(self))
        vars(after).update(vars(self), **changes)
        return after

    @property
    def is_lease_known(self) -> bool:
        """Whether `lease_until` is what the store has: a holder renews its lease without a new version."""
        return self.lease_until is not None or not self.lease_holder

    @property
    def with_unknown_lease(self) -> Self:
        """The job as a process knows it that has not read it just now: its holder may have renewed the lease."""
        return self.but(lease_until=None) if self.lease_holder else self

    @property
    def shown(self) -> Self:
        """The job as its own namespace knows it: with bare ids, and with "" for an owner from another namespace."""
        owner = self.owner or ""
        if SEPARATOR not in self.job_id and SEPARATOR not in owner:
            return self
        is_from_here = namespace_of(owner) == namespace_of(self.job_id)
        shown = owner and (name_in(owner) if is_from_here else "")
        return self.but(job_id=name_in(self.job_id), owner=None if self.owner is None else shown)

    @property
    def document(self) -> dict[str, JSON]:
        """The job as both transports show it, flat, with its keys in the protocol's order."""
        extra = {**self.meta, **self.strategy_meta}
        progress = self._progress(extra)
        return {
            "job_id": name_in(self.job_id),
            "job_class": self.job_class,
            "state": self.state.value,
            "completed": self.state is State.FINISHED,
            "version": self.version,
            "attempt": self.attempt,
            **progress,
            "error": None if self.error is None else asdict(self.error),
            "result": self.result,
            "cancel_requested": self.cancel_requested,
            "stalled": self.stalled,
            "enqueued_at": _isoformat(self.enqueued_at),
            "started_at": _isoformat(self.started_at),
            "finished_at": _isoformat(self.finished_at),
            **{key: extra[key] for key in sorted(extra) if key not in DOCUMENT_KEYS},
        }

    @property
    def text(self) -> str:
        """The document as strict JSON: a version has the same text on every path."""
        return dump(self.document)

    def _progress(self, extra: Mapping[str, JSON]) -> dict[str, JSON]:
        current = _number(extra.get("current"), self.current)
        total = _number(extra.get("total"), self.total)
        given = _number(extra.get("percentage"), self.given_percentage)
        within = self.within if current == self.current else 0.0
        message = extra.get("message")
        return {
            "current": current,
            "total": total,
            "percentage": 100.0 if self.state is State.FINISHED else percentage(current or 0, total, given, within),
            "message": message if isinstance(message, str) else self.message,
        }

    def to_record(self) -> str:
        """Return the whole job as JSON text for a store, without fields that equal their default."""
        values = vars(self)
        record = {
            key: value
            for name, key, default in _FIELDS
            if (value := values[name]) is not default and not _is_same(value, default)
        }
        if self.error is not None:
            record["error"] = asdict(self.error)
        return dump(record)

    @classmethod
    def from_record(cls, text: str | bytes) -> Self:
        """Return the job that `to_record` wrote, without the unknown keys of a newer release."""
        record: dict[str, Any] = {_NAMES[k]: value for k, value in json.loads(text).items() if k in _NAMES}
        if record.get("error") is not None:
            record["error"] = Error(**record["error"])
        record["state"] = State(record.get("state", State.ENQUEUED))
        record["past_ids"] = tuple(record.get("past_ids", ()))
        return cls(**record)


_FIELDS = tuple(
    (f.name, f.metadata.get("key", f.name), f.default if f.default_factory is MISSING else f.default_factory())
    for f in fields(Job)
)
"""The name, the key in a record, and the default of each field."""
_NAMES = {key: name for name, key, _ in _FIELDS}
_NAMES_OF_FIELDS = frozenset(_NAMES.values())


def _is_same(value: object, default: object) -> bool:
    """Return whether both are the same JSON text: 0.0 equals 0, but would be read back as another document."""
    return type(value) is type(default) and value == default


def dump(value: object) -> str:
    """Return strict, compact JSON text."""
    return _encoder.encode(value)


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def copied(value: Any) -> Any:
    """Return a copy of a JSON value: changes to the copy change no job."""
    return json.loads(dump(value))


def percentage(current: Number, total: Number | None, given: Number | None = None, within: float = 0.0) -> float | None:
    """Return how far a job that is not over has come, 0 to 100 with one decimal, or None when unknown.

    `within` is the share done of the next item. A given percentage wins, over a complete count too. The result is 100
    only when `current == total`, never by rounding: 999 of 1000 is 99.9. A count beyond its total says nothing.
    """
    done = total is not None and total > 0 and current == total
    if given is None:
        if total is None or total <= 0 or current > total:
            return None
        given = _FULL if done else 100 * (current + within) / total
    given = min(max(given, 0.0), _FULL)
    return _FULL if done and given == _FULL else min(math.floor(given * 10 + 1e-9) / 10, 99.9)


_FULL = 100.0


def _number(value: object, default: Number | None) -> Number | None:
    """Return `value` if meta gave a number, else the job's own."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return value


def _isoformat(at: int | None) -> str | None:
    if at is None:
        return None
    moment = _EPOCH + timedelta(microseconds=at)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


DOCUMENT_KEYS = frozenset(Job(job_id="x").document)
"""Every key that meta may not set (the `PROGRESS_KEYS` excepted)."""
