"""Who may see a job and who may cancel it."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.tracking import rules, strategies

if TYPE_CHECKING:
    from immortus_channels.tracking.rules import Rule, User

logger = logging.getLogger("immortus_channels")


class Unasked(enum.Enum):
    """The default of a `user` that need not be given: then no permission is asked. None is an anonymous user."""

    ANYBODY = enum.auto()

    def __repr__(self) -> str:
        """As it stands in a signature."""
        return self.name


ANYBODY = Unasked.ANYBODY


_AWAY = (OperationalError, InterfaceError)
"""What a database raises that is away; its other errors are somebody's mistake."""

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def needing_database(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """The function, raising StoreUnavailable where a database is away: nobody can tell then, which is not a no."""

    @wraps(function)
    def ask(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return function(*args, **kwargs)
        except _AWAY as error:
            msg = f"The database cannot tell who may do what: {type(error).__name__}"
            raise StoreUnavailable(msg) from error

    return ask


def user_of(source: object) -> User:
    """The user of a request, or of anything else that may have one; an anonymous one where nobody looked."""
    return getattr(source, "user", None) or anonymous()


def anonymous() -> User:
    """Make a user that is not logged in."""
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 - a project may do without logins

    return AnonymousUser()


def user_given(user: object) -> User:
    """The user that a caller gave; None is an anonymous one. Raises TypeError for anything else."""
    if user is not None and not hasattr(user, "is_authenticated"):
        msg = f"user={user!r} is not a user: give request.user, or None for an anonymous user."
        raise TypeError(msg)
    return user_of(SimpleNamespace(user=user))


def is_active(user: User) -> bool:
    """Whether the account was left its rights; a model without such a flag has no way to take them."""
    return bool(getattr(user, "is_active", True))


def may_see(user: User, job: Job) -> bool:
    """Whether `user` may see `job`, as the job's strategy says; a strategy that cannot tell means no.

    Raises StoreUnavailable when a database it asks is away.
    """
    return _says(job, "allows", user)


def would_see(user: User, job: Job) -> bool:
    """`may_see` for a job that nobody knows. A rule that fails on so little is not at fault, so DEBUG alone logs it."""
    return _says(job, "allows", user, level=logging.DEBUG)


def may_see_nameless(user: User, job_id: str) -> bool:
    """Whether `user` may see a job whose task nobody knows: no strategy speaks for it, only `IMMORTUS_ACCESS`."""
    return _told(rules.by_setting, user, Job(job_id=job_id, staff_only=True), "IMMORTUS_ACCESS", logging.ERROR)


def may_cancel(user: User, job: Job) -> bool:
    """Whether `user`, who may see `job`, may cancel it, as the job's strategy says; raises as `may_see`."""
    return _says(job, "allows_cancel", user)


def is_cancellable(user: User, job: Job) -> bool:
    """Whether `user`, who may see `job`, can still have it stopped; the strategy of one that is over is not asked."""
    return not job.is_over and job.cancel != "never" and may_cancel(user, job)


def _says(job: Job, name: str, user: User, level: int = logging.ERROR) -> bool:
    """What the job's strategy says; `TrackingStrategy`'s own method where that, which may be any class, has none."""

    def rule(user: User, job: Job) -> object:
        silent = strategies.load(strategies.DEFAULT)
        method: Rule = getattr(strategies.strategy_of(job), name, None) or getattr(silent, name)
        return method(user, job)

    return _told(rule, user, job, f"{name}()", level)


@needing_database
def _told(rule: Rule, user: User, job: Job, name: str, level: int) -> bool:
    told = {"job_id": job.job_id}
    try:
        may = bool(rule(user, job))
    except _AWAY:
        raise
    except Exception:
        logger.log(level, "%s of %r cannot be told: refused", name, job.job_id, exc_info=True, extra=told)
        return False
    if not may:
        logger.debug("%s of %r says no to the user %r", name, job.job_id, getattr(user, "pk", None), extra=told)
    return may
