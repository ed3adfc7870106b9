"""The namespace in force: two of them may have jobs of the same id, and users with the same key.

`IMMORTUS_NAMESPACE` names the function that tells it, and with django-tenants `tenants.namespace_of` does. Where there
is neither, everything is in the namespace "".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.module_loading import import_string

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.ids import is_namespace
from immortus_channels.keys import key_of, namespace_of
from immortus_channels.threads import is_in_event_loop

Source = HttpRequest | Mapping[str, Any] | None
"""Where a namespace is asked for: in a request, for a socket's scope, or None in a worker or a shell."""
Finder = Callable[[Any], object]

_NOTHING = nullcontext()
_TENANTS = "immortus_channels.jobs.tenants"


@lru_cache(maxsize=1)
def _finder() -> Finder | None:
    """Return the function that tells the namespace; None where there are no namespaces."""
    path = getattr(settings, "IMMORTUS_NAMESPACE", None)
    if path is None:
        path = f"{_TENANTS}.namespace_of" if has_tenants() else None
    finder: Finder | None = import_string(path) if isinstance(path, str) else path
    return finder


@lru_cache(maxsize=1)
def has_tenants() -> bool:
    """Return whether the project has django-tenants."""
    return any(app.partition(".")[0] == "django_tenants" for app in settings.INSTALLED_APPS)


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("IMMORTUS_NAMESPACE", "INSTALLED_APPS"):
        _finder.cache_clear()
        has_tenants.cache_clear()


setting_changed.connect(_forget)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where code runs: in a request, or `inside` a namespace, as long as the project's own code enters no other."""

    request: HttpRequest | None = None
    namespace: str = ""
    told: object = None
    """What the finder said without a source when the namespace was entered."""


Entered = tuple[_Place | None] | None
"""What `enter` has left: the place before, and no token, as async code may end in another context than it began in."""
_place: ContextVar[_Place | None] = ContextVar("immortus_namespace", default=None)


def are_used() -> bool:
    """Return whether there are namespaces at all."""
    return _finder() is not None


def of(source: Source) -> str:
    """Return the namespace of a request or of a socket's scope.

    Raises ConfigurationError for what cannot be one, and what the project's function raises.
    """
    finder = _finder()
    if finder is None:
        return ""
    namespace = finder(source)
    if not is_namespace(namespace):
        msg = f"{namespace!r} is not a namespace: IMMORTUS_NAMESPACE returns text of at most 63 characters."
        raise ConfigurationError(msg)
    return namespace


def current() -> str:
    """Return the namespace in force. Raises what `of` raises."""
    finder = _finder()
    if finder is None:
        return ""
    place = _place.get()
    if place is None:
        return of(None)
    if place.request is not None:
        return of(None if _knows_threads(finder) else place.request)
    return place.namespace if _told(finder) == place.told else of(None)


def _told(finder: Finder) -> object:
    """Return what the finder says without a source; a project's own may know nothing then, and raise."""
    try:
        return finder(None)
    except Exception as error:  # noqa: BLE001 - it is not ours
        return type(error)


def _knows_threads(finder: Finder) -> bool:
    """Return whether the finder knows without a source what the project's code has entered in this thread."""
    return getattr(finder, "__module__", "") == _TENANTS and not is_in_event_loop()


def scope() -> str | None:
    """Return the namespace that a listing is limited to; None where there are no namespaces."""
    return current() if are_used() else None


def here(name: str) -> str:
    """Return the key of what has this name in the namespace in force."""
    return key_of(current(), name)


def of_schema(schema: str) -> str:
    """Return the namespace of a schema of django-tenants."""
    named: Callable[[str], str] = import_string(f"{_TENANTS}.named")
    return named(schema)


# Users


def key_of_user(app_label: str, name: str) -> str:
    """Return the key that names a user of this app in the namespace in force, or in all if all have the same users."""
    return here(name) if is_of_each(app_label) else name


def keys_of_user(app_label: str, name: str) -> list[str]:
    """Return the keys by which a user of this app may own jobs."""
    if is_of_each(app_label):
        return [here(name)]
    keys: Callable[[str], list[str]] = import_string(f"{_TENANTS}.keys_of_shared")
    return keys(name)


def is_of_each(app_label: str) -> bool:
    """Return whether each namespace has rows of this app for itself; with django-tenants its settings say so."""
    return not has_tenants() or bool(import_string(f"{_TENANTS}.is_of_each")(app_label))


# Entering


def in_request(request: HttpRequest) -> AbstractContextManager[None]:
    """Have the namespace of this request in force in the block."""
    return _requested(request) if are_used() else _NOTHING


def inside(namespace: str) -> AbstractContextManager[None]:
    """Have this namespace in force in the block, and with django-tenants its schema."""
    return _inside(namespace) if are_used() else _NOTHING


def inside_of(key: str) -> AbstractContextManager[None]:
    """Have the namespace of this job in force, as `inside` does."""
    return _inside(namespace_of(key)) if are_used() else _NOTHING


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    with _schema_of(namespace), running_in(namespace):
        yield


@contextmanager
def running_in(namespace: str) -> Iterator[None]:
    """Have this namespace in force in the block, until the project's code enters another; no schema changes."""
    entered = enter(namespace)
    try:
        yield
    finally:
        leave(entered)


def enter(namespace: str) -> Entered:
    """Do what `running_in` does until `leave` is called with what this returns."""
    finder = _finder()
    if finder is None:
        return None
    before = _place.get()
    _place.set(_Place(namespace=namespace, told=_told(finder)))
    return (before,)


def enter_request(request: HttpRequest) -> Entered:
    """Do what `in_request` does until `leave` is called with what this returns."""
    if not are_used():
        return None
    before = _place.get()
    _place.set(_Place(request=request))
    return (before,)


def leave(entered: Entered) -> None:
    """End what `enter` has begun."""
    if entered is not None:
        _place.set(entered[0])


def _schema_of(namespace: str) -> AbstractContextManager[None]:
    if not has_tenants():
        return _NOTHING
    schema: Callable[[str], AbstractContextManager[None]] = import_string(f"{_TENANTS}.schema_of")
    return schema(namespace)


@contextmanager
def _requested(request: HttpRequest) -> Iterator[None]:
    entered = enter_request(request)
    try:
        yield
    finally:
        leave(entered)
