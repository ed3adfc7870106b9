"""A project's own objects as strict JSON: what PostgreSQL, WebSockets and browsers take, and read as it was meant."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from immortus_channels.exceptions import InvalidValue
from immortus_channels.guarded import exceptions_to_pass, text_of
from immortus_channels.jobs.job import JSON, LARGEST, MAX_DEPTH
from immortus_channels.jobs.strict_json import is_deeper
from immortus_channels.logs import logger

_SUSPECT = ("NaN", "Infinity", "\\u0000", "\\ud")
_MANY_DIGITS = re.compile(r"\d{16}")


def encode(value: object, job_id: str, what: str) -> tuple[JSON, str]:
    """Return `value` as strict JSON, as `DjangoJSONEncoder` writes it, and the text it was read from.

    NaN and infinities become null; NUL and lone surrogates in texts become U+FFFD: PostgreSQL and WebSockets refuse
    them. The log says so, and calls it `what`. Raises InvalidValue for what JSON cannot hold.
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder)
        given = json.loads(text)
    except exceptions_to_pass():
        raise
    except Exception as error:
        msg = f"A value of type {type(value).__name__} cannot be written as JSON: {text_of(error)}."
        raise InvalidValue(msg) from error
    if is_deeper(given, MAX_DEPTH - 1):
        msg = f"A value nests more than {MAX_DEPTH - 1} levels deep."
        raise InvalidValue(msg)
    if not any(mark in text for mark in _SUSPECT):
        return given, text
    repaired = _each(given, _repair)
    if json.dumps(repaired) != text:
        logger.warning(
            "%s%s held NaN, infinity, NUL or half a character, which JSON cannot carry; that was replaced.",
            what,
            f" of the job {job_id!r}" if job_id else "",
            extra={"job_id": job_id},
        )
    return repaired, text


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return the JSON value with `change` applied to its keys, and to all but arrays and objects in it."""
    match value:
        case dict():
            return {change(key): _each(item, change) for key, item in value.items()}
        case list():
            return [_each(item, change) for item in value]
    return change(value)


def _repair(value: Any) -> Any:
    if isinstance(value, str):
        return repair_text(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def repair_text(text: str) -> str:
    """Return the text with U+FFFD in place of NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def keep_integers(value: JSON, text: str) -> tuple[JSON, int | None]:
    """Return the value read from this text, with integers that browsers would round as text; and the first of those."""
    if not _MANY_DIGITS.search(text):
        return value, None
    rounded: list[int] = []

    def show(one: Any) -> Any:
        if not isinstance(one, int) or abs(one) <= LARGEST:
            return one
        rounded.append(one)
        return str(one)

    shown = _each(value, show)
    return shown, rounded[0] if rounded else None
