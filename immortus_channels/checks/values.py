"""Whether each setting exists, and has a value that it can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import Error, Warning  # noqa: A004 - Django's name

from immortus_channels.access import limits
from immortus_channels.checks.finding import ID, Findings, meant_by
from immortus_channels.conf import Settings, settings
from immortus_channels.websocket import origins

_SECONDS = ("FLUSH_INTERVAL", "RECHECK_INTERVAL", "STALLED_AFTER", "LOST_AFTER", "RETENTION", "DRAIN")
_OR_NONE_AT_ALL = "DRAIN"
_SHORT_RETENTION = 60.0
_SEVERAL = ("ALLOWED_ORIGINS", "REDIRECT_HOSTS")


def check_values() -> Findings:
    """Find unknown settings, and values that a setting cannot have."""
    names = [name for name in dir(django_settings) if name.startswith("IMMORTUS_")]
    for unknown in (name for name in names if not hasattr(Settings, name.removeprefix("IMMORTUS_"))):
        meant = meant_by(unknown, [f"IMMORTUS_{name}" for name in Settings.__annotations__])
        hint = f"{f'Is {meant} meant? ' if meant else ''}See docs/reference/settings.md."
        yield Warning(f"{unknown} is not a setting of {ID}.", hint=hint, id=f"{ID}.W011")
    for name in _SECONDS:
        value = getattr(settings, name)
        if name == _OR_NONE_AT_ALL and value == 0:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            hint = f"Use seconds, as a number above 0{', or 0' if name == _OR_NONE_AT_ALL else ''}."
            yield Error(f"IMMORTUS_{name} is {value!r}.", hint=hint, id=f"{ID}.E009")
            return
    if settings.RETENTION < _SHORT_RETENTION:
        yield Warning(
            f"IMMORTUS_RETENTION is {settings.RETENTION!r} seconds, so jobs disappear soon after their end.",
            hint=f"It is in seconds: a day is 86400, {settings.RETENTION!r} days are {settings.RETENTION * 86400:g}.",
            id=f"{ID}.W015",
        )
    if settings.LOST_AFTER <= settings.STALLED_AFTER:
        yield Error(
            f"IMMORTUS_LOST_AFTER ({settings.LOST_AFTER!r}) is not after IMMORTUS_STALLED_AFTER "
            f"({settings.STALLED_AFTER!r}), so jobs would be lost before they are stalled.",
            hint="A silent job is stalled first and lost later: 15 and 60 seconds by default.",
            id=f"{ID}.E010",
        )
    for name in _SEVERAL:
        value = getattr(settings, name)
        if not isinstance(value, list | tuple | set | frozenset):
            hint = f"Use a list: [{value!r}]." if isinstance(value, str) else "Use a list, which may be empty."
            yield Error(f"IMMORTUS_{name} is {value!r}, which is not a list.", hint=hint, id=f"{ID}.E011")
            return
    yield from _check_origins_and_hosts()
    yield from _check_switches()


def _check_switches() -> Findings:
    """Whether each switch is on or off, and the token a text."""
    websocket: object = settings.WEBSOCKET
    if not isinstance(websocket, bool):
        yield Error(f"IMMORTUS_WEBSOCKET is {websocket!r}.", hint="Use True or False.", id=f"{ID}.E013")
    inline: object = settings.INLINE
    if inline is not None and not isinstance(inline, bool):
        hint = "Use True or False, or None to have it on in Django's test environment alone."
        yield Error(f"IMMORTUS_INLINE is {inline!r}.", hint=hint, id=f"{ID}.E013")
    token: object = settings.METRICS_TOKEN
    if token is not None and not isinstance(token, str):
        kind = type(token).__name__
        yield Error(f"IMMORTUS_METRICS_TOKEN is of type {kind}.", hint="Use text, or None.", id=f"{ID}.E013")


def _check_origins_and_hosts() -> Findings:
    """Find origins that no page can have, and hosts that no URL can have."""
    allowed: Any = settings.ALLOWED_ORIGINS
    hosts: Any = settings.REDIRECT_HOSTS
    for value in allowed:
        if not isinstance(value, str) or origins.parse(value) is None:
            yield Error(
                f"IMMORTUS_ALLOWED_ORIGINS has {value!r}, which is not the origin of a page.",
                hint="Name scheme and host of each, and a port if there is one: 'https://www.example.com', or "
                "'capacitor://localhost' for an app.",
                id=f"{ID}.E013",
            )
    for value in hosts:
        if not isinstance(value, str) or not value or "/" in value:
            yield Error(
                f"IMMORTUS_REDIRECT_HOSTS has {value!r}, which is not a host.",
                hint="Name the host alone, and a port if there is one: 'www.example.com'.",
                id=f"{ID}.E013",
            )


def check_limits() -> Findings:
    """Find names in `IMMORTUS_LIMITS` that are not limits, and values that are not numbers."""
    chosen: object = settings.LIMITS
    hint = f"Use finite numbers above 0, counts of at least 1, for any of {', '.join(sorted(limits.NAMES))}."
    if not isinstance(chosen, Mapping):
        yield Error(f"IMMORTUS_LIMITS is {chosen!r}, which is not a dict.", hint=hint, id=f"{ID}.E014")
        return
    wrong = [(name, value) for name, value in chosen.items() if not _is_limit(name, value)]
    for name, value in wrong:
        yield Error(f"IMMORTUS_LIMITS has {name!r}: {value!r}, which is not a limit.", hint=hint, id=f"{ID}.E014")
    if not wrong and limits.limits().silence <= limits.limits().ping:
        yield Error(
            f"IMMORTUS_LIMITS ends sockets after {limits.limits().silence:g} s of silence, and pings them "
            f"every {limits.limits().ping:g} s: every quiet one ends.",
            hint="Let 'silence' be longer than 'ping': 30 and 20 seconds by default.",
            id=f"{ID}.E014",
        )


def _is_limit(name: object, value: object) -> bool:
    if name not in limits.NAMES or isinstance(value, bool) or not isinstance(value, int | float):
        return False
    is_count = isinstance(getattr(limits.Limits(), str(name)), int)
    return 0 < value < float("inf") and (value >= 1 or not is_count)
