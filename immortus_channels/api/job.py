"""A job as an object, the same inside the task that runs it and anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Never, Self, TypeVar

from immortus_channels import tracking
from immortus_channels.api import links
from immortus_channels.api.without_queue import running
from immortus_channels.exceptions import JobNotFound
from immortus_channels.guarded import quoted
from immortus_channels.jobs.events import Event, Failed, Finished, Updated
from immortus_channels.jobs.ids import JobId, given_as
from immortus_channels.jobs.job import JSON, Job, Number, State
from immortus_channels.tracking import strategies
from immortus_channels.writer.run import Run
from immortus_channels.writer.values import (
    clean,
    clean_error,
    clean_key,
    clean_message,
    clean_meta,
    clean_number,
    clean_result,
    fits,
    refuse_too_large,
)

Item = TypeVar("Item")


class JobHandle:
    """A job by its id: readable and settable in any process, and inside the task that runs it.

    Inside the running task, what is set is gathered and sent a few times a second at most; elsewhere each call is a
    change of its own. Outside any job it does nothing, so that a task stays callable as a plain function.
    """

    def __init__(self, job_id: JobId = "", *, run: Run | None = None, record: Job | None = None) -> None:
        self.job_id = job_id if type(job_id) is str else given_as(job_id)
        self._run = run
        self._record = record

    @property
    def id(self) -> str:
        """The same as `job_id`."""
        return self.job_id

    def __repr__(self) -> str:
        """Name the job and tell what is known of it; nothing is read."""
        if not self.job_id:
            return f"<{type(self).__name__} outside a job>"
        return f"<{' '.join(filter(None, (type(self).__name__, repr(self.job_id), *self._known())))}>"

    def _known(self) -> tuple[str, ...]:
        if self._run is not None:
            return self._run.job_class, State.RUNNING
        return (self._record.job_class, self._record.state) if self._record is not None else ()

    def __json__(self) -> Never:
        """Raise TypeError: a task takes the job's id, and gets at the job by that. Celery's JSON asks here."""
        msg = f"{self!r} cannot be sent; give the job's id, job.id, and let the task call get_job(id)."
        raise TypeError(msg)

    # Telling

    def track(self, iterable: Iterable[Item], total: Number | None = None, message: object = "") -> Iterator[Item]:
        """Yield the items and count them; the outermost loop is a step of progress.

        `total` is taken from `len(iterable)`; where that raises, it is unknown. Raises JobCancelled between two items
        once cancellation was asked for.
        """
        return self._run.track(iterable, total, message) if self._run is not None else iter(iterable)

    def update(
        self,
        *,
        current: Number | None = None,
        total: Number | None = None,
        advance: Number | None = None,
        percentage: float | None = None,
        message: object | None = None,
    ) -> None:
        """Set what is given; `total` begins a step, within which `current` does not move back.

        After a `track()` has ended, any number begins the next step; a message alone does not. `percentage` is 0 to 100
        and is shown whatever the count says. What is above, or no finite number of 0 or more, is refused. `message` is
        text, lazily translated text or a number.
        """
        if self._run is not None:
            self._run.update(current, total, advance, percentage, message)
            return
        given = {"current": current, "total": total, "advance": advance, "percentage": percentage}
        numbers = {name: clean_number(name, value, self.job_id) for name, value in given.items() if value is not None}
        text = None if message is None else clean_message(message, self.job_id)
        if text is not None and not self._has_room(message=text):
            refuse_too_large("The message", self.job_id)
            text = None
        self._publish(Updated, **numbers, message=text)

    def set_meta(self, /, *given: Never, **fields: object) -> None:
        """Add fields to the top level of the job document.

        In DEBUG and tests raises ReservedMetaKey for the document's own keys and DocumentTooLarge beyond 24 KiB;
        otherwise such fields are dropped and logged. A NaN becomes null, with a warning, in both.
        """
        if given:
            msg = "Give keywords: set_meta(a=1); what a mapping holds is given as set_meta(**mapping)."
            raise TypeError(msg)
        self._tell_meta(fields)

    def set_progress_metric(self, name: str, value: object) -> None:
        """Set one field at the top level of the job document, as `set_meta` does."""
        self._tell_meta({name: value})

    def set_result(self, value: object) -> None:
        """Publish a small JSON value as the job's result."""
        if self._run is not None:
            self._run.set_result(value)
        else:
            self._set_result(clean_result(value, self.job_id))

    def checkpoint(self) -> None:
        """Raise JobCancelled once cancellation was asked for."""
        if self._run is not None:
            self._run.checkpoint()

    # Beginning and ending

    @contextmanager
    def running(self) -> Iterator[Self]:
        """The job, running in the block: for jobs without a queue.

        Finished when the block ends; failed, or cancelled, by what it raises: JobFailed and JobCancelled end here, any
        other exception goes on, also one that wraps them. Raises JobCancelled before the block when the job was
        cancelled while it waited.
        """
        with running(self.record) as run:
            job = type(self)(self.job_id, run=run)
            try:
                yield job
            finally:
                job._run = None  # noqa: SLF001 - of the same class
        self.refresh()

    def complete(self) -> None:
        """End the job as finished, whoever runs it; what is over stays as it is."""
        self._end(Finished)

    def fail(self, code: str = "error", message: object = "") -> None:
        """End the job as failed, whoever runs it; what is over stays as it is. Both are shown to end users."""
        said = clean_error(code, message, self.job_id)
        self._end(Failed, code=said.code, message=said.message)

    def _end(self, kind: type[Event], **fields: object) -> None:
        if self._run is not None:
            tracking.end(self._run, kind, **fields)
            self.refresh()
        else:
            self._publish(kind, **fields)

    # Knowing

    @property
    def data(self) -> JobData:
        """JSON values kept with the job on the server; `job.data[key] = value` stores one."""
        return JobData(self)

    @property
    def params(self) -> Mapping[str, JSON]:
        """The task's arguments, as far as `@tracked(params=…)` records them."""
        if self._run is not None:
            return self._run.params
        return self.record.params if self.job_id else {}

    @property
    def attempt(self) -> int:
        """1 for the first run, 2 for the next, and so on."""
        if self._run is not None:
            return self._run.attempt
        return self.record.attempt if self.job_id else 1

    @property
    def strategy(self) -> Any:
        """The strategy that follows the job; in a run, its meta is published after every method called through it."""
        if self._run is not None:
            return self._run.strategy
        return strategies.strategy_of(self.record) if self.job_id else strategies.load(strategies.DEFAULT)

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked for the job to stop."""
        if self._run is not None:
            return self._run.cancel_requested
        return bool(self.job_id) and self.record.cancel_requested

    @property
    def record(self) -> Job:
        """The job as it was last read from the store. Raises JobNotFound."""
        if self._record is None:
            self._record = read(self.job_id)
        return self._record

    @property
    def job_class(self) -> str:
        """The registered name of the job's task."""
        return self._run.job_class if self._run is not None else self.record.job_class

    @property
    def state(self) -> State:
        """The state the job was in when it was read."""
        return self.record.state

    @property
    def document(self) -> dict[str, JSON]:
        """The job as browsers see it, as it was when it was read."""
        return self.record.document

    @property
    def owner(self) -> str | None:
        """The key of its user, their primary key as text; None for nobody, "" where they were deleted."""
        return self.record.owner

    @property
    def page_url(self) -> str | None:
        """The address of the job's page; None where the package's addresses are not mounted."""
        return links.page_url(self.job_id) if self.job_id else None

    def get_absolute_url(self) -> str | None:
        """The address of the job's page, so that `redirect(job)` goes there."""
        return self.page_url

    def cancel(self) -> None:
        """Ask for the job to stop. Raises StoreUnavailable."""
        if self.job_id:
            tracking.cancel(self.job_id)
        self._record = None

    def refresh(self) -> None:
        """Read the job again when it is next asked about."""
        self._record = None

    def _publish(self, kind: Callable[..., Event], **fields: object) -> None:
        if not self.job_id:
            return
        job_class = self._record.job_class if self._record is not None else ""
        self._record = tracking.publish(kind(job_id=self.job_id, job_class=job_class, **fields)) or self._record

    def _tell_meta(self, fields: Mapping[str, object]) -> None:
        if self._run is not None:
            self._run.set_meta(fields)
            return
        meta = clean_meta(fields, self.job_id)
        if self._has_room(meta=meta):
            self._publish(Updated, meta=meta)
        else:
            refuse_too_large(f"Meta {', '.join(map(repr, meta))}", self.job_id)

    def _set_result(self, result: JSON) -> None:
        if self._has_room(result=result):
            self._publish(Updated, result=result)
        else:
            refuse_too_large("The result", self.job_id)

    def _has_room(self, *, meta: Mapping[str, JSON] | None = None, result: JSON = None, message: str = "") -> bool:
        """Whether this fits beside what the job is known to say already."""
        known = self._record or Job(job_id=self.job_id)
        said = {**known.meta, **(meta or {})}
        return fits(said, known.strategy_meta, result or known.result, message or known.message)

    def _data(self) -> Mapping[str, JSON]:
        if self._run is not None:
            return self._run.data
        return self.record.data if self.job_id else {}

    def _set_data(self, key: str, value: object) -> None:
        if self._run is not None:
            self._run.set_data(key, value)
        else:
            self._publish(Updated, data={clean_key(key): clean(value, self.job_id, what=f"Data {quoted(key)}")})


class JobData(Mapping[str, JSON]):
    """A job's data; setting an item stores it."""

    def __init__(self, job: JobHandle) -> None:
        self._job = job

    def __getitem__(self, key: str) -> JSON:
        """The value as JSON gave it back."""
        return self._job._data()[key]  # noqa: SLF001 - two halves of one object

    def __setitem__(self, key: str, value: object) -> None:
        """Keep a JSON value with the job."""
        self._job._set_data(key, value)  # noqa: SLF001

    def __iter__(self) -> Iterator[str]:
        """The keys."""
        return iter(self._job._data())  # noqa: SLF001

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._job._data())  # noqa: SLF001

    def __repr__(self) -> str:
        """Read like the dict that it is; nothing is read for that which was not."""
        job = self._job
        known = job._data() if job._run or job._record or not job.job_id else "not read yet"  # noqa: SLF001
        return f"{type(self).__name__}({known})"


def read(job_id: str) -> Job:
    """The job as it stands; in a hook, the one it is told of. Raises JobNotFound and StoreUnavailable."""
    told = tracking.told_of(job_id)
    if told is not None:
        return told
    reading = tracking.on_record([job_id])
    job = reading.jobs.get(job_id)
    if job is None:
        raise JobNotFound(unknown(job_id))
    return tracking.as_it_stands(job, reading.now)


def unknown(job_id: str) -> str:
    """What is said of a job that is not on record, or is not to be known of."""
    return f"No job {job_id!r} is known; it may have expired, or its task is not @tracked."
