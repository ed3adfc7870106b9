"""Hears of logouts, and of changes of users, permissions and groups, and has whoever they are about asked again.

The jobs of a user who is deleted are forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.apps import apps
from django.db.models import Model, signals

from immortus_channels.access.deleted_users import forget
from immortus_channels.jobs.owner import owner_key
from immortus_channels.push.messages import EVERYBODY, Revocation
from immortus_channels.push.revocations import announce

NAMED = 100
"""Members of a group who are asked at once because of it; of a larger one everybody is asked, one after the other."""


def connect() -> None:
    """Hear of logouts, and of changes of users, permissions and groups."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib import auth  # noqa: PLC0415 - a project may do without logins
    from django.contrib.auth.models import Group, Permission  # noqa: PLC0415 - likewise

    user = auth.get_user_model()
    auth.user_logged_out.connect(_logged_out, dispatch_uid=__name__)
    for model in _kinds_of(user):
        signals.post_save.connect(_saved, sender=model, dispatch_uid=__name__)
        signals.post_delete.connect(_deleted, sender=model, dispatch_uid=__name__)
    for name in ("groups", "user_permissions"):
        through = getattr(getattr(user, name, None), "through", None)
        if through is not None:
            signals.m2m_changed.connect(_granted, sender=through, dispatch_uid=f"{__name__}.{name}")
    signals.m2m_changed.connect(_redefined, sender=Group.permissions.through, dispatch_uid=__name__)
    for model in _kinds_of(Group):
        # Afterwards nobody knows any more who was in it; and that they are in it no more is told of by no signal.
        signals.pre_delete.connect(_dissolved, sender=model, dispatch_uid=__name__)
    for model in _kinds_of(Permission):
        signals.post_delete.connect(_abolished, sender=model, dispatch_uid=__name__)


def _kinds_of(model: type[Model]) -> Iterator[type[Model]]:
    """The model and those that inherit from it: signals of a proxy name the proxy.

    A receiver for every sender would be simpler, and keep Django from deleting any rows without fetching them.
    """
    return (each for each in apps.get_models() if issubclass(each, model))


_ABOUT_RIGHTS = frozenset({"is_active", "is_staff", "is_superuser", "password"})


def _logged_out(user: object = None, **_: object) -> None:
    if getattr(user, "pk", None) is not None:
        announce(Revocation(user=_key(user)))


def _saved(instance: object, using: str, **how: Any) -> None:
    fields = how.get("update_fields")
    if not how["created"] and not how.get("raw") and (fields is None or _ABOUT_RIGHTS & set(fields)):
        announce(Revocation(user=_key(instance)), using)


def _deleted(instance: object, using: str, **_: object) -> None:
    announce(Revocation(user=_key(instance)), using)
    forget(_key(instance), using)


def _granted(instance: object, action: str, using: str, **how: Any) -> None:
    """Groups or permissions of a user changed; seen from their side, of several users, or of nobody knows whom."""
    if action not in _CHANGED:
        return
    keys = [_key(instance)] if not how["reverse"] else map(str, how["pk_set"] or [EVERYBODY])
    for key in keys:
        announce(Revocation(user=key), using)


def _redefined(instance: Any, action: str, using: str, **how: Any) -> None:
    """Permissions of a group changed; seen from theirs, of several groups, or of nobody knows which."""
    if action in _CHANGED:
        _tell_members([instance.pk] if not how["reverse"] else how["pk_set"], using)


def _dissolved(instance: Any, using: str, **_: object) -> None:
    _tell_members([instance.pk], using)


def _abolished(using: str, **_: object) -> None:
    announce(Revocation(user=EVERYBODY), using)


def _tell_members(groups: Collection[object] | None, using: str) -> None:
    """Announce who is in any of the groups; everybody where those are too many, or not known."""
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - a project may do without logins
    from django.contrib.auth.models import Group  # noqa: PLC0415 - likewise

    user = get_user_model()
    keys: list[Any] = [EVERYBODY]
    if groups and getattr(getattr(user, "groups", None), "rel", None) and user.groups.rel.model is Group:
        members: Any = user._base_manager.using(using)  # noqa: SLF001 - whom other managers leave out has rights too
        found = list(members.filter(groups__in=groups).values_list("pk", flat=True).distinct()[: NAMED + 1])
        keys = found if len(found) <= NAMED else keys
    for key in keys:
        announce(Revocation(user=str(key)), using)


_CHANGED = frozenset({"post_add", "post_remove", "post_clear"})


def _key(user: object) -> str:
    return owner_key(user) or EVERYBODY
