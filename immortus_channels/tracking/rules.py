"""The rules that a strategy has by default: what `IMMORTUS_ACCESS` says, and who may cancel."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, TypeAlias

from django.utils.module_loading import import_string

from immortus_channels.conf import settings
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.owner import owner_key

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

User: TypeAlias = "AbstractBaseUser | AnonymousUser"
Rule: TypeAlias = "Callable[[User, Job], object]"

VIEW_ALL = "immortus_channels.view_jobrecord"
CHANGE_ALL = "immortus_channels.change_jobrecord"


def is_owner(user: User, job: Job) -> bool:
    """Return whether the user owns the job."""
    return job.owner is not None and user.is_authenticated and owner_key(user) == job.owner


def by_setting(user: User, job: Job) -> bool:
    """Return what `IMMORTUS_ACCESS` says.

    Raises ConfigurationError when it names nothing that can be called.
    """
    match settings.ACCESS:
        case "owner":
            return _as_owner(user, job)
        case "login":
            return user.is_authenticated and (not job.staff_only or _is_staff(user))
        case path:
            return _by_rule(path, user, job)


def _as_owner(user: User, job: Job) -> bool:
    """Return the rule "owner": an owned job is its owner's, one without is for all who know its id; staff see all."""
    if job.owner is None and not job.staff_only:
        return True
    return is_owner(user, job) or _is_staff(user)


def _is_staff(user: User) -> bool:
    """Return whether the user may view all jobs: as in Django's admin, the permission to change jobs includes it."""
    return getattr(user, "is_staff", False) and (_has_permission(user, VIEW_ALL) or _has_permission(user, CHANGE_ALL))


def may_cancel_by_default(user: User, job: Job) -> bool:
    """Return whether the job is the user's own or has no owner, or the user may change every job."""
    return job.owner is None or is_owner(user, job) or _has_permission(user, CHANGE_ALL)


def _has_permission(user: User, permission: str) -> bool:
    ask = getattr(user, "has_perm", None)
    return ask is not None and bool(ask(permission))


def _by_rule(path: str | Rule, user: User, job: Job) -> bool:
    try:
        rule: Rule = import_string(path) if isinstance(path, str) else path
    except ImportError as error:
        allowed = '"owner", "login" or the dotted path of a function (user, job) -> bool'
        msg = f"IMMORTUS_ACCESS is {path!r}, which cannot be imported ({error}); use {allowed}."
        raise ConfigurationError(msg) from error
    return yes_or_no(rule(user, job))


def yes_or_no(said: object) -> bool:
    """Return what a rule said. Raises TypeError for a coroutine, which is true whatever it would say."""
    if isinstance(said, Coroutine):
        said.close()
        msg = "A rule of access is not awaited: write `def`, not `async def`."
        raise TypeError(msg)
    return bool(said)
