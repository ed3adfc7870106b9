"""A project's own objects as strict JSON: what PostgreSQL, WebSockets and browsers take, and read as it was meant."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from immortus_channels.exceptions import InvalidValue
from immortus_channels.guarded import passing, text_of
from immortus_channels.jobs.job import JSON, LARGEST, MAX_DEPTH
from immortus_channels.jobs.strict_json import is_deeper
from immortus_channels.logs import logger

_SUSPECT = ("NaN", "Infinity", "\\u0000", "\\ud")
_MANY_DIGITS = re.compile(r"\d{16}")


def encoded(value: object, job_id: str, what: str) -> tuple[JSON, str]:
    """Return `value` as strict JSON, as `DjangoJSONEncoder` writes it, and the text it was read from.

    NaN and infinities become null; NUL and lone surrogates in texts become U+FFFD: PostgreSQL and WebSockets refuse
    them. The log says so, and calls it `what`. Raises InvalidValue for what JSON cannot hold.
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder)
        given = json.loads(text)
    except passing():
        raise
    except Exception as error:
        msg = f"A value of type {type(value).__name__} cannot be written as JSON: {text_of(error)}."
        raise InvalidValue(msg) from error
    if is_deeper(given, MAX_DEPTH - 1):
        msg = f"A value nests more than {MAX_DEPTH - 1} levels deep."
        raise InvalidValue(msg)
    if not any(mark in text for mark in _SUSPECT):
        return given, text
    repaired = _repair(given)
    if json.dumps(repaired) != text:
        logger.warning(
            "%s%s held NaN, infinity, NUL or half a character, which JSON cannot carry; that was replaced.",
            what,
            f" of the job {job_id!r}" if job_id else "",
            extra={"job_id": job_id},
        )
    return repaired, text


def _repair(value: Any) -> Any:
    match value:
        case str():
            return repaired_text(value)
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {repaired_text(key): _repair(item) for key, item in value.items()}
        case list():
            return [_repair(item) for item in value]
    return value


def repaired_text(text: str) -> str:
    """Return the text with U+FFFD in place of NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def exact(value: JSON, text: str) -> tuple[JSON, int | None]:
    """Return the value read from this text, with integers that browsers would round as text; and the first of those."""
    rounded: list[int] = []
    shown = _exact(value, rounded) if _MANY_DIGITS.search(text) else value
    return shown, rounded[0] if rounded else None


def _exact(value: Any, rounded: list[int]) -> Any:
    match value:
        case bool():
            return value
        case int() if abs(value) > LARGEST:
            rounded.append(value)
            return str(value)
        case dict():
            return {key: _exact(item, rounded) for key, item in value.items()}
        case list():
            return [_exact(item, rounded) for item in value]
    return value
