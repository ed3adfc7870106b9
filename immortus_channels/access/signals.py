"""Receivers for logouts, and for changes of users, permissions and groups, that have permissions checked again.

They also forget the jobs of deleted users, and of deleted tenants of django-tenants.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db.models import Model, signals

from immortus_channels.loading import Later

if TYPE_CHECKING:
    from immortus_channels.access import deleted_users
    from immortus_channels.jobs import namespaces, owner
    from immortus_channels.push import messages, revocations
else:
    deleted_users = Later("immortus_channels.access.deleted_users")
    namespaces = Later("immortus_channels.jobs.namespaces")
    owner = Later("immortus_channels.jobs.owner")
    messages = Later("immortus_channels.push.messages")
    revocations = Later("immortus_channels.push.revocations")

NAMED = 100
"""Members of a group who are each announced when it changes; for a larger group, all users are checked again."""


def connect() -> None:
    """Connect to logouts, to changes of users, permissions and groups, and to deletions of tenants."""
    tenant = getattr(settings, "TENANT_MODEL", None)
    if tenant and apps.is_installed("django_tenants"):
        for model in _kinds_of(apps.get_model(tenant)):
            signals.post_delete.connect(_on_tenant_delete, sender=model, dispatch_uid=__name__)
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib import auth  # noqa: PLC0415 - a project may do without logins
    from django.contrib.auth.models import Group, Permission  # noqa: PLC0415 - likewise

    user = auth.get_user_model()
    auth.user_logged_out.connect(_on_logout, dispatch_uid=__name__)
    for model in _kinds_of(user):
        signals.post_save.connect(_on_save, sender=model, dispatch_uid=__name__)
        signals.post_delete.connect(_on_delete, sender=model, dispatch_uid=__name__)
    for name in ("groups", "user_permissions"):
        through = getattr(getattr(user, name, None), "through", None)
        if through is not None:
            signals.m2m_changed.connect(_on_grant, sender=through, dispatch_uid=f"{__name__}.{name}")
    signals.m2m_changed.connect(_on_group_change, sender=Group.permissions.through, dispatch_uid=__name__)
    for model in _kinds_of(Group):
        # Afterwards its members are unknown; and no signal reports that they left it.
        signals.pre_delete.connect(_on_group_delete, sender=model, dispatch_uid=__name__)
    for model in _kinds_of(Permission):
        signals.post_delete.connect(_on_permission_delete, sender=model, dispatch_uid=__name__)


def _kinds_of(model: type[Model]) -> Iterator[type[Model]]:
    """Return the model and those that inherit from it: signals of a proxy name the proxy.

    A receiver for every sender would be simpler, but would keep Django from deleting any rows without fetching them.
    """
    return (each for each in apps.get_models() if issubclass(each, model))


_ABOUT_PERMISSIONS = frozenset({"is_active", "is_staff", "is_superuser", "password"})


def _on_logout(user: object = None, **_: object) -> None:
    if getattr(user, "pk", None) is not None:
        _announce(_key(user))


def _on_save(instance: object, using: str, **details: Any) -> None:
    fields = details.get("update_fields")
    if not details["created"] and not details.get("raw") and (fields is None or _ABOUT_PERMISSIONS & set(fields)):
        _announce(_key(instance), using)


def _on_delete(instance: object, using: str, **_: object) -> None:
    _announce(_key(instance), using)
    for key in namespaces.keys_of_user(_app_of(instance), owner.owner_key(instance) or ""):
        deleted_users.forget(key, using)


def _on_tenant_delete(instance: Any, using: str, **_: object) -> None:
    namespace = namespaces.of_schema(instance.schema_name)
    if namespace:  # the public schema is there without a tenant, too
        deleted_users.forget_namespace(namespace, using)


def _on_grant(instance: object, action: str, using: str, **details: Any) -> None:
    """Announce users whose groups or permissions changed; all users if the signal does not name them."""
    if action not in _CHANGED:
        return
    if details["reverse"]:
        _announce_users(details["pk_set"] or (), using)
    else:
        _announce(_key(instance), using)


def _on_group_change(instance: Any, action: str, using: str, **details: Any) -> None:
    """Announce the members of groups whose permissions changed; all users if the signal does not name the groups."""
    if action in _CHANGED:
        _announce_members([instance.pk] if not details["reverse"] else details["pk_set"], using)


def _on_group_delete(instance: Any, using: str, **_: object) -> None:
    _announce_members([instance.pk], using)


def _on_permission_delete(using: str, **_: object) -> None:
    _announce(messages.EVERYBODY, using)


def _announce_members(groups: Collection[object] | None, using: str) -> None:
    """Announce the members of these groups; all users if the members are too many, or not known."""
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - a project may do without logins
    from django.contrib.auth.models import Group  # noqa: PLC0415 - likewise

    user = get_user_model()
    keys: list[Any] = []
    if groups and getattr(getattr(user, "groups", None), "rel", None) and user.groups.rel.model is Group:
        members: Any = user._base_manager.using(using)  # noqa: SLF001 - other managers may omit users
        found = list(members.filter(groups__in=groups).values_list("pk", flat=True).distinct()[: NAMED + 1])
        if not found:
            return
        keys = found if len(found) <= NAMED else keys
    _announce_users(keys, using)


def _announce_users(keys: Collection[object], using: str) -> None:
    """Announce the users with these primary keys; all users if there are none."""
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - a project may do without logins

    named = [namespaces.key_of_user(_app_of(get_user_model()), str(key)) for key in keys]
    for key in named or [messages.EVERYBODY]:
        _announce(key, using)


_CHANGED = frozenset({"post_add", "post_remove", "post_clear"})


def _key(user: Any) -> str:
    key = owner.owner_key(user)
    return messages.EVERYBODY if key is None else namespaces.key_of_user(_app_of(user), key)


def _app_of(user: Any) -> str:
    """Return the label of the app that has the table of a user, or of a user model."""
    if not hasattr(user, "_meta"):
        return settings.AUTH_USER_MODEL.partition(".")[0]
    label: str = user._meta.concrete_model._meta.app_label  # noqa: SLF001 - Django's name
    return label


def _announce(user: str, using: str | None = None) -> None:
    revocations.announce(messages.Revocation(user=user), using)
