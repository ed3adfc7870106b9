"""Who may see a job and who may cancel it."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeAlias, TypeVar, cast

from django.db import InterfaceError, OperationalError

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.job import Job
from immortus_channels.logs import logger
from immortus_channels.threads import waits_for_store
from immortus_channels.tracking import rules, strategies
from immortus_channels.tracking.rules import Rule, User


class HasRecord(Protocol):
    """A job, as views have it."""

    @property
    def record(self) -> Job:
        """Its record."""


class NotGiven(enum.Enum):
    """The default of an optional user, as None is an anonymous one."""

    NOT_GIVEN = enum.auto()

    def __repr__(self) -> str:
        """Return the name as in a signature."""
        return self.name


NOT_GIVEN = NotGiven.NOT_GIVEN
OptionalUser: TypeAlias = "User | NotGiven | None"

_AWAY = (OperationalError, InterfaceError)
"""What a database raises that is unreachable; its other errors are a mistake in the project."""

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def needing_database(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Wrap a function to raise StoreUnavailable if a database is unreachable: unknown permissions are not a no."""

    @wraps(function)
    def ask(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return function(*args, **kwargs)
        except _AWAY as error:
            msg = f"The database cannot answer for permissions: {type(error).__name__}"
            raise StoreUnavailable(msg) from error

    return ask


def user_of(source: object) -> User:
    """Return the user of a request, or of anything else that may have one; an anonymous user if none was set."""
    return getattr(source, "user", None) or anonymous()


def anonymous() -> User:
    """Make a user that is not logged in."""
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 - a project may do without logins

    return AnonymousUser()


def user_given(user: object) -> User:
    """Return the user that a caller passed; None is an anonymous user. Raises TypeError for anything else."""
    if user is not None and not hasattr(user, "is_authenticated"):
        msg = f"user={user!r} is not a user: give request.user, or None for an anonymous user."
        raise TypeError(msg)
    return cast("User | None", user) or anonymous()


def is_active(user: User) -> bool:
    """Return whether the account is active; a user model without that flag cannot deactivate any."""
    return bool(getattr(user, "is_active", True))


def may_see(user: User, job: Job) -> bool:
    """Return whether `user` may see `job`, as the job's strategy says; a strategy that raises means no.

    Raises StoreUnavailable when a database it asks is unreachable.
    """
    return _ask_strategy(job, "allows", user)


def would_see(user: User, job_id: str, job_class: str = "") -> bool:
    """Return `may_see` for a job that is not on record; a rule may fail on so little, so only DEBUG logs that."""
    return _ask_strategy(_stand_in(job_id, job_class), "allows", user, level=logging.DEBUG)


def may_see_nameless(user: User, job_id: str) -> bool:
    """Return whether `user` may see a job of an unknown task: it has no strategy, so `IMMORTUS_ACCESS` decides."""
    return _apply(rules.by_setting, user, _stand_in(job_id), "IMMORTUS_ACCESS", logging.ERROR)


def _stand_in(job_id: str, job_class: str = "") -> Job:
    """Return a stand-in for a job that is not on record: its owner is unknown, so it is for staff."""
    return Job(job_id=job_id, job_class=job_class, staff_only=True)


def may_cancel(user: User, job: Job) -> bool:
    """Return whether `user`, who may see `job`, may cancel it, as the job's strategy says; raises as `may_see`."""
    return _ask_strategy(job, "allows_cancel", user)


@waits_for_store("await sync_to_async(can_cancel)(user, job)")
def can_cancel(user: User | None, job: HasRecord) -> bool:
    """Return whether `user` may see this job, as `get_job` returns it, and can still cancel it: for views of your own.

    None is an anonymous user. Raises TypeError for what is not a user or not such a job, and StoreUnavailable.
    """
    asking, record = user_given(user), getattr(job, "record", None)
    if not isinstance(record, Job):
        msg = f"can_cancel(user, {job!r}): give the job itself, as get_job(id) returns it."
        raise TypeError(msg)
    return may_see(asking, record) and is_cancellable(asking, record)


def is_cancellable(user: User, job: Job) -> bool:
    """Return whether `user`, who may see `job`, can still cancel it; an ended job's strategy is not asked."""
    return not job.is_over and job.cancel != "never" and may_cancel(user, job)


def _ask_strategy(job: Job, name: str, user: User, level: int = logging.ERROR) -> bool:
    """Return what the job's strategy says; if that class, which may be any, lacks the method, `TrackingStrategy`'s."""

    def rule(user: User, job: Job) -> object:
        method = getattr(strategies.strategy_of(job.job_class, job.job_id), name, None)
        return (method or getattr(strategies.load(strategies.DEFAULT), name))(user, job)

    return _apply(rule, user, job, f"{name}()", level)


@needing_database
def _apply(rule: Rule, user: User, job: Job, name: str, level: int) -> bool:
    about = {"job_id": job.job_id}
    try:
        with namespaces.inside_of(job.job_id):
            may = rules.yes_or_no(rule(user, job.shown))
    except _AWAY:
        raise
    except Exception:
        logger.log(level, "%s of %r failed, so permission is refused", name, job.job_id, exc_info=True, extra=about)
        return False
    if not may:
        logger.debug("%s of %r says no to the user %r", name, job.job_id, getattr(user, "pk", None), extra=about)
    return may
