"""Ways to get a job: the one that runs here, any by its id, and new ones made by hand."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async

from immortus_channels import tracking
from immortus_channels.access import permissions
from immortus_channels.access.permissions import NOT_GIVEN, OptionalUser
from immortus_channels.api import remote
from immortus_channels.api.job import JobHandle, run_here
from immortus_channels.api.job_handler import load, name_of
from immortus_channels.conf import is_strict
from immortus_channels.exceptions import InvalidValue, JobExists, JobNotFound, StoreUnavailable
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Created, Origin
from immortus_channels.jobs.ids import JobId, given_as, is_job_id
from immortus_channels.jobs.job import Job
from immortus_channels.keys import MAX_LENGTH, name_in
from immortus_channels.queues.tracked import Named
from immortus_channels.stores import get_store
from immortus_channels.threads import waits_for_store
from immortus_channels.writer.run import current_run, owner_here
from immortus_channels.writer.values import clean, clean_key, with_room

Handle = TypeVar("Handle", bound=JobHandle)


@overload
def current_job() -> JobHandle: ...
@overload
def current_job(kind: type[Handle]) -> Handle: ...
def current_job(kind: type[Any] = JobHandle) -> Any:
    """Return the job that this code runs in, as a `kind`; outside a job, an object whose methods do nothing."""
    run = current_run.get()
    return kind() if run is None else kind(name_in(run.job_id), run=run_here())


@overload
def get_job(job_id: JobId, *, user: OptionalUser = NOT_GIVEN) -> JobHandle: ...
@overload
def get_job(job_id: JobId, *, user: OptionalUser = NOT_GIVEN, kind: type[Handle]) -> Handle: ...
@waits_for_store("await aget_job(…)")
def get_job(job_id: JobId, *, user: OptionalUser = NOT_GIVEN, kind: type[Any] = JobHandle) -> Any:
    """Return the job of this id, as it stands now, as a `kind`.

    No permission is checked unless `user` is given; None is an anonymous user. Raises JobNotFound for an unknown id and
    for a job that the user may not see, TypeError for an id or a user that cannot be one, and StoreUnavailable.
    """
    asking = None if user is NOT_GIVEN else permissions.user_given(user)
    job_id = _found_by(job_id)
    key = namespaces.here(job_id)
    record = remote.read(key)
    if asking is not None and not permissions.may_see(asking, record):
        raise JobNotFound(remote.unknown(key))
    run = run_here(key)
    if run is None:
        return kind(job_id, record=record)
    run.know(record)
    return kind(job_id, run=run, record=record)


def _found_by(given: object) -> str:
    remote.need_django()
    job_id = given_as(given)
    if not is_job_id(job_id):
        msg = (
            f"No job has the id {job_id[:MAX_LENGTH]!r}: ids have 1 to {MAX_LENGTH} characters, "
            "no NUL, no U+001F and no half characters."
        )
        raise JobNotFound(msg)
    return job_id


@overload
async def aget_job(job_id: JobId, *, user: OptionalUser = NOT_GIVEN) -> JobHandle: ...
@overload
async def aget_job(job_id: JobId, *, user: OptionalUser = NOT_GIVEN, kind: type[Handle]) -> Handle: ...
async def aget_job(job_id: JobId, *, user: OptionalUser = NOT_GIVEN, kind: type[Any] = JobHandle) -> Any:
    """Return what `get_job` returns, for async code."""
    return await sync_to_async(lambda: get_job(job_id, user=user, kind=kind))()


class JobRepository:
    """The place to make and find records of jobs of any kind, run by a queue or not."""

    @waits_for_store("await JobRepository().acreate(…)")
    def create(
        self,
        id: JobId | None = None,  # noqa: A002 - the name that users type
        handler: Named = None,
        handler_class: Named = None,
        **data: object,
    ) -> JobHandle:
        """Return a new job, or the one of this id that a queue has announced, with the given handler and data.

        The job belongs to the user who is logged in now. Without an `id` it gets one. `handler_class` is the same as
        `handler`: a JobHandler, its dotted path or its short name. What a known job has done and written stays.

        Raises JobExists when a caller did this before for the id, TypeError for an id of another type, and InvalidValue
        for a text that cannot be an id and for data that is not JSON; in DEBUG and tests HandlerNotFound for a name
        that no handler has, and DocumentTooLarge for data beyond 128 KiB, which is left out otherwise.

        A store that does not answer in time takes the record later.
        """
        remote.need_django()
        job_id = given_as(uuid.uuid4() if id is None else id)
        if not is_job_id(job_id):
            allowed = "text of 1 to 255 characters, without NUL, U+001F and half characters"
            msg = f"{job_id!r} cannot be a job's id: give {allowed}."
            raise InvalidValue(msg)
        given = {clean_key(name): clean(value, job_id, what=f"Data {name!r}") for name, value in data.items()}
        key, (owner, staff_only) = namespaces.here(job_id), owner_here()
        origin = Origin(
            owner=owner,
            staff_only=staff_only,
            handler=_named(handler or handler_class),
            data=with_room(given, job_id, data={}, params={}),
        )
        return JobHandle(job_id, record=_created(key, origin))

    async def acreate(
        self,
        id: JobId | None = None,  # noqa: A002
        handler: Named = None,
        handler_class: Named = None,
        **data: object,
    ) -> JobHandle:
        """Return what `create` returns, for async code."""
        return await sync_to_async(self.create)(id, handler, handler_class, **data)

    @waits_for_store("await JobRepository().afind(…)")
    def find(self, id: JobId) -> JobHandle:  # noqa: A002
        """Return the job of this id, as `get_job` does. Raises JobNotFound and StoreUnavailable."""
        return get_job(id)

    async def afind(self, id: JobId) -> JobHandle:  # noqa: A002
        """Return what `find` returns, for async code."""
        return await aget_job(id)


def _named(handler: Named) -> str:
    """Return the handler's name for the record; a mistyped one is refused here, where a developer sees it."""
    name = name_of(handler)
    if name and is_strict():
        load(handler)
    return name


def _created(job_id: str, origin: Origin) -> Job:
    """Return the record as the store has it or, when the store is silent, will have it."""
    event = Created(job_id=job_id, creation=uuid.uuid4().hex, origin=origin)
    job = tracking.publish(event) or _on_record(job_id)
    if job is not None and job.creation not in ("", event.creation):
        name = name_in(job_id)
        msg = f"A job {name!r} was created before; give another id, or JobRepository().find({name!r})."
        raise JobExists(msg)
    return job or Job(job_id=job_id, owner=origin.owner, handler=origin.handler, data=origin.data or {})


def _on_record(job_id: str) -> Job | None:
    """Return the job as it is while the write waits for the caller's transaction, or for the store."""
    try:
        return get_store().get_many([job_id]).jobs.get(job_id)
    except StoreUnavailable:
        return None
