"""A project's own class for the jobs of a task: `class RunMarathon(JobState): task = "races.tasks.run_marathon"`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, Self

from asgiref.sync import sync_to_async

from immortus_channels import queues, tracking
from immortus_channels.access.permissions import NOT_GIVEN, OptionalUser
from immortus_channels.api.job import JobHandle
from immortus_channels.api.remote import unknown
from immortus_channels.api.repository import get_job
from immortus_channels.exceptions import JobNotFound
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.ids import JobId
from immortus_channels.jobs.job import JSON, State
from immortus_channels.jobs.owner import owner_key
from immortus_channels.keys import name_in
from immortus_channels.stores.base import Filter
from immortus_channels.threads import waits_for_store

MAX_LISTED = 1_000


class JobState(JobHandle):
    """A job of one task, with behaviour of its own: the same object in the worker and in the web server.

    `task` is the task or its registered name; without one, the class is for jobs of every kind. In the running task
    `current_job(RunMarathon)` is the job, anywhere else `RunMarathon.find(job_id)`.
    """

    task: ClassVar[object] = ""

    # Finding

    @classmethod
    @waits_for_store("await afind(…)")
    def find(cls, job_id: JobId, *, user: OptionalUser = NOT_GIVEN) -> Self:
        """Return the job of this id. No permission is checked unless `user` is given; None is an anonymous user.

        Raises JobNotFound for an unknown id, for a job that the user may not see, and for a job of another class;
        StoreUnavailable.
        """
        job = get_job(job_id, user=user, kind=cls)
        if cls._class() not in ("", job.job_class):
            raise JobNotFound(unknown(job.job_id))
        return job

    @classmethod
    async def afind(cls, job_id: JobId, *, user: OptionalUser = NOT_GIVEN) -> Self:
        """Return what `find` returns, for async code."""
        return await sync_to_async(cls.find)(job_id, user=user)

    @classmethod
    @waits_for_store("await aall(…)")
    def all(cls, *, limit: int = 100, before: int | None = None) -> list[Self]:
        """Return the newest jobs of the class: `filter` without a condition."""
        return cls.filter(limit=limit, before=before)

    @classmethod
    async def aall(cls, *, limit: int = 100, before: int | None = None) -> list[Self]:
        """Return what `all` returns, for async code."""
        return await sync_to_async(cls.all)(limit=limit, before=before)

    @classmethod
    @waits_for_store("await afilter(…)")
    def filter(
        cls,
        *,
        owner: object = NOT_GIVEN,
        states: Collection[State | str] | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[Self]:
        """Return the newest jobs of the class, by their last change, at most 1,000.

        `owner` is a user or a user's key: their primary key, not their name. A text that is nobody's key has no jobs,
        nor has an anonymous user, or None. For the next page, give the version in the last document as `before`. Raises
        StoreUnavailable, and ValueError for a word that is not a state and for a `limit` or `before` that is not a
        whole number of 0 or more.
        """
        _refuse_unless_whole(limit=limit, before=0 if before is None else before)
        key = owner_key(owner) if hasattr(owner, "pk") else owner
        if key is None:
            return []
        wanted = Filter(
            namespace=namespaces.scope(),
            owner=None if key is NOT_GIVEN else namespaces.here(str(key)),
            job_class=cls._class() or None,
            states=None if states is None else _states(states),
        )
        records = tracking.list_jobs(wanted, limit=min(limit, MAX_LISTED), before=before)
        return [cls(name_in(record.job_id), record=record) for record in records]

    @classmethod
    async def afilter(
        cls,
        *,
        owner: object = NOT_GIVEN,
        states: Collection[State | str] | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[Self]:
        """Return what `filter` returns, for async code."""
        return await sync_to_async(cls.filter)(owner=owner, states=states, limit=limit, before=before)

    @classmethod
    def _class(cls) -> str:
        return cls.task if isinstance(cls.task, str) else queues.name_of(cls.task)

    # Metrics

    @property
    def progress_metrics(self) -> Mapping[str, JSON]:
        """The fields set for the top level of the job document; values keep their JSON type."""
        return self._side.details.meta

    def get_progress_metric(self, name: str, default: JSON = None) -> JSON:
        """Return one of `progress_metrics`."""
        return self.progress_metrics.get(name, default)

    # State

    @property
    def is_success(self) -> bool:
        """Whether the job is finished."""
        return self.state is State.FINISHED

    @property
    def is_error(self) -> bool:
        """Whether the job is over without being finished: failed, cancelled or lost."""
        return self.state.is_over and not self.is_success

    @property
    def is_working(self) -> bool:
        """Whether the job is not over: waiting, running or about to be retried."""
        return not self.state.is_over


def _refuse_unless_whole(**numbers: object) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 0:
            msg = f"{name}={value!r}: give a whole number, 0 or more."
            raise ValueError(msg)


def _states(given: Collection[State | str]) -> frozenset[State]:
    """Return the given states; a single word is one state, not its letters."""
    words = (given,) if isinstance(given, str) else given
    for word in words:
        if word not in tuple(State):
            msg = f"{word!r} is not a state; the states are {', '.join(State)}."
            raise ValueError(msg)
    return frozenset(map(State, words))
