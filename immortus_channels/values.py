"""What tasks and strategies publish, made fit for the document: strict JSON, no reserved keys, bounded."""

from __future__ import annotations

import enum
import json
import logging
import math
import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, SupportsFloat, SupportsIndex

from django.core.serializers.json import DjangoJSONEncoder

from immortus_channels.conf import is_strict
from immortus_channels.decoding import is_deeper
from immortus_channels.exceptions import DocumentTooLarge, ImmortusError, InvalidValue, ReservedMetaKey
from immortus_channels.jobs import (
    DOCUMENT_KEYS,
    JSON,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    PROGRESS_KEYS,
    Error,
    Job,
    Number,
    dump,
)

logger = logging.getLogger("immortus_channels")

RESERVED = DOCUMENT_KEYS - PROGRESS_KEYS
MAX_SENTENCE = 500
"""Characters of a message that always find room."""
MAX_CODE = 100
"""Characters of an error's code."""
_ROOM = MAX_DOCUMENT_BYTES - 8 * 1024
"""Bytes for what a task says; the rest is for the document's own keys, with the longest of ids and sentences."""
LARGEST = 2**53 - 1
"""Beyond this, numbers are not exact in browsers (RFC 8259, section 6)."""


def refuse(error: ImmortusError, job_id: str) -> None:
    """Raise `error` where a developer will see it (DEBUG, tests), else log it: a job never breaks."""
    if is_strict():
        raise error
    logger.error("%s", error, extra={"job_id": job_id})


def clean(value: object, job_id: str = "", *, what: str = "A value") -> JSON:
    """`value` as strict JSON, written as `DjangoJSONEncoder` writes it; `what` it is called in the log.

    NaN and infinities become null; NUL and lone surrogates in texts become U+FFFD: PostgreSQL and WebSockets
    refuse them. Raises InvalidValue for what JSON cannot hold.
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder)
        given = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"A value of type {type(value).__name__} cannot be written as JSON: {error}."
        raise InvalidValue(msg) from error
    if is_deeper(given, MAX_DEPTH - 1):
        msg = f"A value nests more than {MAX_DEPTH - 1} levels deep."
        raise InvalidValue(msg)
    if not any(mark in text for mark in _SUSPECT):
        return given  # type: ignore[no-any-return]
    repaired = _repair(given)
    if json.dumps(repaired) != text:
        logger.warning(
            "%s%s held NaN, infinity, NUL or half a character, which JSON cannot carry; that was replaced.",
            what,
            f" of the job {job_id!r}" if job_id else "",
            extra={"job_id": job_id},
        )
    return repaired  # type: ignore[no-any-return]


_SUSPECT = ("NaN", "Infinity", "\\u0000", "\\ud")


def clean_text(text: object) -> str:
    """`text` (a lazy translation too) without what stores and sockets refuse."""
    text = str(text)
    return text if text.isascii() and "\0" not in text else _repair_text(text)


def clean_error(code: object, message: object, job_id: str = "") -> Error:
    """What a failure says, fit for the document. Never raises: whatever is wrong with it, the job has failed.

    An enum's member stands for its value and a number for its digits. What else is no text becomes the code `error`,
    and is logged: the text of an exception or of bytes is not meant for end users.
    """
    return Error(code=_code(code, job_id), message=_written(message, job_id))


def _code(code: object, job_id: str) -> str:
    value = code.value if isinstance(code, enum.Enum) else code
    if isinstance(value, str | int) and not isinstance(value, bool):
        return _written(value, job_id)[:MAX_CODE] or _ERROR
    msg = "A failure's code is text, and no %s; the job has failed with the code %r"
    logger.error(msg, type(value).__name__, _ERROR, extra={"job_id": job_id})
    return _ERROR


_ERROR = "error"


def _written(value: object, job_id: str) -> str:
    try:
        return clean_text(value)
    except Exception:
        logger.exception("What a failure says could not be written as text", extra={"job_id": job_id})
        return ""


def clean_number(name: str, value: object, job_id: str = "") -> Number | None:
    """`value` as a number that can be shown; None, and refused, for NaN, infinities, negatives, and no numbers.

    A `percentage` above 100 is refused as well, but for what sums of floats are above it.
    """
    number = _number(value)
    is_percentage = name == "percentage"
    if number is not None and 0 <= number <= (_HUNDRED if is_percentage else LARGEST):
        return number
    allowed = "a number from 0 to 100" if is_percentage else "a finite number, 0 or more"
    refuse(InvalidValue(f"{name}={value!r}: give {allowed}."), job_id)
    return None


_HUNDRED = 100 + 1e-6


def _number(value: object) -> Number | None:
    """The plain number that an int, float, Decimal or NumPy's scalar stands for; None for what is none."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, SupportsIndex):
            return operator.index(value)
        return float(value) if isinstance(value, SupportsFloat) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _repair(value: Any) -> Any:
    match value:
        case str():
            return _repair_text(value)
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {_repair_text(key): _repair(item) for key, item in value.items()}
        case list():
            return [_repair(item) for item in value]
    return value


def _repair_text(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clean_meta(meta: Mapping[str, object], job_id: str = "") -> dict[str, JSON]:
    """Meta fit for the document's top level; what is reserved or cannot be JSON is refused."""
    fit: dict[str, JSON] = {}
    for key, value in meta.items():
        name = clean_text(key)
        if name in RESERVED:
            msg = f"Meta may not set {name!r}: the job document uses that key itself. Choose another name."
            refuse(ReservedMetaKey(msg), job_id)
            continue
        try:
            fit[name] = clean(value, job_id, what=f"Meta {name!r}")
        except InvalidValue as error:
            refuse(InvalidValue(f"Meta {name!r} is left out. {error}"), job_id)
    return fit


def clean_result(value: object, job_id: str = "") -> JSON:
    """A result as strict JSON; None, and refused, for what JSON cannot hold."""
    try:
        return clean(value, job_id, what="The result")
    except InvalidValue as error:
        refuse(InvalidValue(f"The result is not published. {error}"), job_id)
    return None


def fits(*parts: object) -> bool:
    """Whether these values together leave room in a document of 32 KiB for all else that it says."""
    return sum(len(dump(part).encode()) for part in parts) <= _ROOM


def within_limit(before: Job | None, after: Job) -> Job:
    """`after`, without what it says that `before` did not where its document would exceed 32 KiB.

    The last guard: parts that fit when they were set, one by one, may be too much together. Meta goes first, then the
    result, then the message.
    """
    if len(after.text.encode()) <= MAX_DOCUMENT_BYTES:
        return after
    msg = "The document of %r would exceed %d bytes; what is new in it is left out"
    logger.error(msg, after.job_id, MAX_DOCUMENT_BYTES, extra={"job_id": after.job_id})
    said = before or Job(job_id=after.job_id)
    left = replace(after, meta=said.meta, strategy_meta=said.strategy_meta)
    for part in ("result", "message"):
        if len(left.text.encode()) > MAX_DOCUMENT_BYTES:
            left = replace(left, **{part: getattr(said, part)})
    return left


def refuse_too_large(what: str, job_id: str) -> None:
    """Say that `what` was left out because the document would exceed 32 KiB."""
    limit = f"what the job says exceed {_ROOM} bytes, of the document's {MAX_DOCUMENT_BYTES}"
    msg = f"{what} would make {limit}; publish a link to large values instead."
    refuse(DocumentTooLarge(msg), job_id)
