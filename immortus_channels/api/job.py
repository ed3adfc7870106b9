"""A job as an object, the same inside the task that runs it and anywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any, Never, Self, TypeVar

from asgiref.sync import sync_to_async

from immortus_channels.api import links
from immortus_channels.api.items import TrackedItems
from immortus_channels.api.remote import NoJob, Remote
from immortus_channels.api.without_queue import running
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Event, Failed, Finished
from immortus_channels.jobs.ids import JobId, given_as
from immortus_channels.jobs.job import JSON, Job, Number, State, copied
from immortus_channels.keys import name_in
from immortus_channels.threads import waits_for_store
from immortus_channels.writer.failures import clean_error
from immortus_channels.writer.run import Run, current_run
from immortus_channels.writer.values import clean_key

Item = TypeVar("Item")

_PROGRESS = ("current", "total", "advance", "percentage", "message")


class JobHandle:
    """A job by its id: readable and settable in any process, and inside the task that runs it.

    The running task gathers what it sets and sends that a few times a second at most; elsewhere each call is a change
    of its own, except that a loop gathers what it counts. Outside any job the object does nothing, so that a task stays
    callable as a plain function.
    """

    job_id: str
    _key: str
    _given: Job | None
    _side: Run | Remote

    def __init__(self, job_id: JobId = "", *, run: Run | None = None, record: Job | None = None) -> None:
        known = run or record
        self._become(known.job_id if known is not None else _key_of(job_id), run, record)

    def _become(self, key: str, run: Run | None, record: Job | None = None) -> None:
        own = self.__dict__  # `__setattr__` would take a microsecond
        own["_key"], own["job_id"], own["_given"] = key, name_in(key), record
        own["_side"] = self._stored if run is None else run

    @cached_property
    def _stored(self) -> Remote:
        """The job as the store has it, without what its own run here has yet to report."""
        return Remote(self._key, self._given) if self._key else NoJob(self._key)

    @property
    def id(self) -> str:
        """The same as `job_id`."""
        return self.job_id

    def __repr__(self) -> str:
        """Name the job and what is known of it; this reads nothing."""
        parts = type(self).__name__, self.job_id and repr(self.job_id), self._side.summary
        return f"<{' '.join(filter(None, parts))}>"

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; raise AttributeError for one that reports nothing, which may be a mistyped one.

        A project's own class has the attributes it likes, except progress that it does not declare.
        """
        is_free = name.startswith("_") or hasattr(type(self), name)
        if not is_free and (name in _PROGRESS or type(self).__module__.startswith("immortus_channels.")):
            how = f"update({name}=…)" if name in _PROGRESS else f"update(…) or set_meta({name}=…)"
            msg = f"Nobody would see job.{name} = …; write job.{how}."
            raise AttributeError(msg)
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same job, by its namespace and id."""
        return self._key == other._key if isinstance(other, JobHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the job by its namespace and id: the copy is the same job, in any process that has set Django up."""
        return _by_key, (type(self), self._key)

    def __json__(self) -> Never:
        """Raise TypeError: a task takes the job's id, and gets the job by that. Celery's JSON calls this."""
        msg = f"{self!r} cannot be sent; give the job's id, job.id, and let the task call get_job(id)."
        raise TypeError(msg)

    # Reporting

    def track(
        self, iterable: Iterable[Item] | AsyncIterable[Item], total: Number | None = None, message: object = ""
    ) -> TrackedItems[Item]:
        """Yield the items and count them, for `for` and `async for`; the outermost loop is a step of progress.

        A loop in an item of another, or of a step that `update(current=…, total=…)` counts, moves the bar within that
        item. Loops that other tasks of an event loop or threads run beside it add their items, as do those of several
        handles outside the task. `total` is `len(iterable)` unless
        given; where that raises, it is unknown. Raises JobCancelled between two items once a cancel was requested.
        """
        return TrackedItems(self._side, iterable, total, message)

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

        After the end of a `track()`, any number begins the next step; a message alone does not. In a `track()` of the
        same thread, `current` and `total` together count inside of its item, and `advance` adds nothing: the loop
        counts its items. `percentage` is 0 to 100 and is shown whatever the count says. A larger one, and any number
        that is not finite or is below 0, is refused. `message` is text, lazily translated text or a number.
        """
        self._side.update(current, total, advance, percentage, message)

    def set_meta(self, /, *given: Never, **fields: object) -> None:
        """Add fields to the top level of the job document.

        In DEBUG and tests raises ReservedMetaKey for the document's own keys and DocumentTooLarge beyond 24 KiB;
        otherwise such fields are dropped and logged. A NaN becomes null and logs a warning, in both.
        """
        if given:
            msg = "Give keywords: set_meta(a=1); what a mapping holds is given as set_meta(**mapping)."
            raise TypeError(msg)
        self._side.set_meta(fields)

    def set_progress_metric(self, name: str, value: object) -> None:
        """Set one field at the top level of the job document, as `set_meta` does."""
        self._side.set_meta({name: value})

    def set_result(self, value: object) -> None:
        """Publish a small JSON value as the job's result."""
        self._side.set_result(value)

    def checkpoint(self) -> None:
        """Raise JobCancelled once a cancel was requested."""
        self._side.checkpoint()

    # Beginning and ending

    @waits_for_store("async with job.arunning()")
    @contextmanager
    def running(self) -> Iterator[Self]:
        """Run the job in the block: for jobs without a queue.

        The end of the block finishes the job; an exception makes it failed or cancelled. Exceptions
        leave the block, except for JobFailed and JobCancelled themselves. Before the block raises JobCancelled when the
        job was cancelled while it waited, and JobRunning when this process runs it already, in a block or as a task.
        """
        try:
            with running(self.record) as run:
                job = type(self)(self.job_id, run=run)
                try:
                    yield job
                finally:
                    job._side = job._stored  # noqa: SLF001 - of the same class
                    job.refresh()
        finally:
            self.refresh()

    @asynccontextmanager
    async def arunning(self) -> AsyncIterator[Self]:
        """Run the job in the block, as `running` does, for async code."""
        block, run, job = await sync_to_async(self.running)(), None, self
        try:
            job = await sync_to_async(block.__enter__)()
            run = job._side  # noqa: SLF001 - of the same class
            yield job
        except BaseException as error:
            # Cancelled meanwhile, the thread has begun the job all the same; it is the same one that ends it.
            if not await sync_to_async(block.__exit__)(type(error), error, error.__traceback__):
                raise
        else:
            await sync_to_async(block.__exit__)(None, None, None)
        finally:
            # Properties may not read on an event loop: here they show what was read when the block ended.
            if isinstance(run, Run):
                self._stored.known = job._stored.known = run.ended  # noqa: SLF001

    def complete(self) -> None:
        """End the job as finished, wherever it runs; what is over stays as it is. A waiting job is then not run."""
        self._end(Finished)

    async def acomplete(self) -> None:
        """End the job as `complete` does, and wait until that is on record."""
        await sync_to_async(self.complete)()

    def fail(self, code: str = "error", message: object = "") -> None:
        """End the job as failed, wherever it runs; what is over stays as it is. A waiting job is then not run.

        End users see the code and the message.
        """
        said = clean_error(code, message, self.job_id)
        self._end(Failed, code=said.code, message=said.message)

    async def afail(self, code: str = "error", message: object = "") -> None:
        """End the job as `fail` does, and wait until that is on record."""
        await sync_to_async(self.fail)(code, message)

    def _end(self, kind: type[Event], **fields: object) -> None:
        self._stored.known = self._side.end(kind, **fields)

    # Reading

    @property
    def data(self) -> JobData:
        """JSON values kept with the job on the server; `job.data[key] = value` stores one.

        `job.data[key]` is a copy: store a value again after changing it in place. Data and params may have 128 KiB
        together, as JSON text. Beyond that, DEBUG and tests raise DocumentTooLarge; otherwise the value is dropped and
        logged.
        """
        return JobData(self)

    @property
    def params(self) -> Mapping[str, JSON]:
        """The task's arguments, as far as `@tracked(params=…)` records them."""
        params: Mapping[str, JSON] = copied(self._side.details.params)
        return params

    @property
    def attempt(self) -> int:
        """The number of the run: 1 for the first, 2 for the next."""
        return self._side.details.attempt

    @property
    def strategy(self) -> Any:
        """The strategy that follows the job; in a run, every call of its methods publishes its meta."""
        return self._side.strategy

    @property
    def cancel_requested(self) -> bool:
        """Whether a cancel was requested; outside the task, as the store knew at most half a second ago."""
        return self._side.cancel_requested

    @property
    def record(self) -> Job:
        """The job as it was last read from the store. Raises JobNotFound."""
        return self._stored.record

    @property
    def job_class(self) -> str:
        """The registered name of the job's task."""
        return self._side.job_class

    @property
    def state(self) -> State:
        """The state of the job when it was read."""
        return self.record.state

    @property
    def document(self) -> dict[str, JSON]:
        """The job as browsers see it, at the time it was read."""
        return self.record.document

    @property
    def owner(self) -> str | None:
        """The key of the job's user, their primary key as text; None without an owner, "" for a deleted user.

        It is "" too for a user of another namespace.
        """
        return self.record.shown.owner

    @property
    def page_url(self) -> str | None:
        """The URL of the job's page; None where the package's URLs are not mounted."""
        return links.page_url(self.job_id) if self.job_id else None

    def get_absolute_url(self) -> str | None:
        """Return the URL of the job's page, so that `redirect(job)` goes there."""
        return self.page_url

    def cancel(self) -> None:
        """Ask the job to stop; its run knows at once if it is in this process. Raises StoreUnavailable."""
        self._stored.cancel()
        self.refresh()

    async def acancel(self) -> None:
        """Ask the job to stop; it is as it was after that. Raises StoreUnavailable."""
        self._stored.known = await sync_to_async(self._stored.cancel)()

    def refresh(self) -> None:
        """Have the job read again when it is next used."""
        self._stored.known = None

    async def arefresh(self) -> None:
        """Read the job again, now. Raises JobNotFound and StoreUnavailable."""
        if self.job_id:
            await sync_to_async(self._stored.read_again)()


def _key_of(given: JobId) -> str:
    job_id = given_as(given)
    return namespaces.here(job_id) if job_id else ""


Handle = TypeVar("Handle", bound=JobHandle)


def run_here(key: str | None = None) -> Run | None:
    """Return the run that this code is in, if it is the job's; None in a forked child, which is a process beside it."""
    run = current_run.get()
    return run if run is not None and not run.is_forked and key in (None, run.job_id) else None


def _by_key(kind: type[Handle], key: str) -> Handle:
    job = kind.__new__(kind)
    job._become(key, run_here(key))  # noqa: SLF001 - of the same class
    return job


class JobData(Mapping[str, JSON]):
    """A job's data; setting an item stores it."""

    def __init__(self, job: JobHandle) -> None:
        self._job = job

    def __getitem__(self, key: str) -> JSON:
        """Return a copy of the value, as JSON gives it back: changing it in place stores nothing."""
        value: JSON = copied(self._job._side.details.data[clean_key(key)])  # noqa: SLF001 - two halves of one object
        return value

    def __setitem__(self, key: str, value: object) -> None:
        """Keep a JSON value with the job."""
        self._job._side.set_data(key, value)  # noqa: SLF001

    def __delitem__(self, key: str) -> Never:
        """Raise TypeError: a report that was written before would bring the value back."""
        msg = f"A job's data cannot be deleted; set job.data[{key!r}] = None."
        raise TypeError(msg)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys."""
        return iter(self._job._side.details.data)  # noqa: SLF001

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._job._side.details.data)  # noqa: SLF001

    def __repr__(self) -> str:
        """Show the data as a dict; data that was not read yet is not read for this."""
        side = self._job._side  # noqa: SLF001
        known = side.details.data if side.summary else "not read yet"
        return f"{type(self).__name__}({known})"
