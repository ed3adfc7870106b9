"""Hears of logouts, and of changes of users, permissions and groups, and has whoever they are about asked again."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db.models import signals

from immortus_channels.revocation import EVERYBODY, Revocation, announce


def connect() -> None:
    """Hear of logouts, and of changes of users, permissions and groups."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib import auth  # noqa: PLC0415 - a project may do without logins
    from django.contrib.auth.models import Group  # noqa: PLC0415 - likewise

    user = auth.get_user_model()
    auth.user_logged_out.connect(_logged_out, dispatch_uid=__name__)
    signals.post_save.connect(_saved, sender=user, dispatch_uid=__name__)
    signals.post_delete.connect(_deleted, sender=user, dispatch_uid=__name__)
    for name in ("groups", "user_permissions"):
        through = getattr(getattr(user, name, None), "through", None)
        if through is not None:
            signals.m2m_changed.connect(_granted, sender=through, dispatch_uid=f"{__name__}.{name}")
    signals.m2m_changed.connect(_redefined, sender=Group.permissions.through, dispatch_uid=__name__)


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


def _granted(instance: object, action: str, using: str, **how: Any) -> None:
    """Groups or permissions of a user changed; seen from their side, of several users, or of nobody knows whom."""
    if action not in _CHANGED:
        return
    keys = [_key(instance)] if not how["reverse"] else map(str, how["pk_set"] or [EVERYBODY])
    for key in keys:
        announce(Revocation(user=key), using)


def _redefined(action: str, using: str, **_: object) -> None:
    """A group's own permissions changed: who is in it nobody here asks."""
    if action in _CHANGED:
        announce(Revocation(user=EVERYBODY), using)


_CHANGED = frozenset({"post_add", "post_remove", "post_clear"})


def _key(user: object) -> str:
    return str(getattr(user, "pk", EVERYBODY))
