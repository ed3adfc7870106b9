"""The values that tasks and strategies publish, made fit for documents: strict JSON, no reserved keys, bounded."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

from django.utils.functional import Promise

from immortus_channels.conf import is_strict
from immortus_channels.exceptions import DocumentTooLarge, ImmortusError, InvalidValue, ReservedMetaKey
from immortus_channels.guarded import length_of, number_of, quoted, text_of
from immortus_channels.jobs.job import (
    DOCUMENT_KEYS,
    JSON,
    LARGEST,
    MAX_DOCUMENT_BYTES,
    MAX_KEPT_BYTES,
    PROGRESS_KEYS,
    Job,
    Number,
    dump,
)
from immortus_channels.logs import logger
from immortus_channels.writer.encoding import encode, keep_integers, repair_text

RESERVED = DOCUMENT_KEYS - PROGRESS_KEYS
SENTENCE = "give text, lazily translated text or a number"
"""The types of a message, for the texts of errors."""
MAX_SENTENCE = 500
"""Characters of a message that always find room."""
_ROOM = MAX_DOCUMENT_BYTES - 8 * 1024
"""Bytes for a task's values; the rest is for the document's own keys, with the longest of ids and sentences."""


def refuse(error: ImmortusError, job_id: str) -> None:
    """Raise `error` where a developer will see it (DEBUG, tests), else log it: a job never breaks."""
    if is_strict():
        raise error
    logger.error("%s", error, extra={"job_id": job_id})


def clean(value: object, job_id: str = "", *, what: str = "A value") -> JSON:
    """Return `value` as strict JSON, as `DjangoJSONEncoder` writes it; the log calls it `what`.

    NaN and infinities become null; NUL and lone surrogates in texts become U+FFFD: PostgreSQL and WebSockets refuse
    them. Raises InvalidValue for what JSON cannot hold.
    """
    return value if _is_plain(value) else encode(value, job_id, what)[0]


def _is_plain(value: object) -> TypeGuard[bool | int | float | str | None]:
    """Return whether the value is its own JSON, and is shown as it is: so most are in hot loops."""
    if type(value) is str:
        return value.isascii() and "\0" not in value
    if type(value) is int or type(value) is float:
        return -LARGEST <= value <= LARGEST
    return type(value) is bool or value is None


def clean_shown(value: object, job_id: str = "", *, what: str, by_caller: bool = True) -> JSON:
    """Return `clean`'s value for browsers: an integer that they would round becomes text, with a warning.

    In DEBUG and tests raises InvalidValue for such an integer if it was given `by_caller`, who can correct it.
    """
    if _is_plain(value):
        return value
    shown, rounded = keep_integers(*encode(value, job_id, what))
    if rounded is not None:
        msg = f"{what} holds the integer {rounded}; browsers round beyond ±(2**53 - 1), so give it as text."
        if by_caller and is_strict():
            raise InvalidValue(msg)
        logger.warning("%s It is published as text.", msg, extra={"job_id": job_id})
    return shown


def clean_text(text: object) -> str:
    """Return `text` (a lazy translation too) without what stores and sockets refuse."""
    text = str.__str__(str(text))  # `str` alone keeps a SafeString
    return text if text.isascii() and "\0" not in text else repair_text(text)


def clean_key(key: object) -> str:
    """Return the name of a value as text. Raises InvalidValue for what cannot be written as text."""
    if type(key) is not str:
        written = text_of(key)
        if written is None:
            msg = f"{quoted(key)} names no value: it cannot be written as text."
            raise InvalidValue(msg)
        key = written
    return clean_text(key)


def clean_message(message: object, job_id: str = "") -> str | None:
    """Return a message as it is shown; None for what cannot be written as text, which is refused.

    A message is text, lazily translated text or a number. For anything else, DEBUG and tests raise TypeError, and
    production shows its `str()`, with a warning.
    """
    if type(message) is str:
        return message if message.isascii() and "\0" not in message else repair_text(message)
    if not is_sentence(message):
        msg = f"message={quoted(message)}: {SENTENCE}."
        if is_strict():
            raise TypeError(msg)
        logger.warning("%s Its str() is shown.", msg, extra={"job_id": job_id})
    text = text_of(message)
    if text is None:
        refuse(InvalidValue(f"message={quoted(message)} cannot be written as text and is left out."), job_id)
        return None
    return clean_text(text)


def is_sentence(message: object) -> bool:
    """Return whether a message may be of this type; only the type counts, so that no lazy object has to work."""
    return issubclass(type(message), str | Promise | numbers.Number) and not isinstance(message, bool)


def clean_number(name: str, value: object, job_id: str = "") -> Number | None:
    """Return `value` as a number to show; None for NaN, infinities, negatives and other types, which are refused.

    A `percentage` above 100 is refused as well, unless it is above only as sums of floats are.
    """
    number = value if type(value) is int or type(value) is float else number_of(value)
    is_percentage = name == "percentage"
    if number is not None and 0 <= number <= (_HUNDRED if is_percentage else LARGEST):
        return number
    allowed = "a number from 0 to 100" if is_percentage else "a finite number from 0 to 2**53 - 1"
    refuse(InvalidValue(f"{name}={quoted(value)}: give {allowed}."), job_id)
    return None


_HUNDRED = 100 + 1e-6


def clean_total(given: object, iterable: object, job_id: str = "") -> Number | None:
    """Return how many items a loop has: the given number, else the length of `iterable`; None where that is unknown.

    A number that a document cannot hold is unknown too, an infinite one included.
    """
    number = length_of(iterable) if given is None else number_of(given)
    if number is not None and number > LARGEST:
        return None
    return number if given is None else clean_number("total", given, job_id)


def clean_meta(meta: Mapping[str, object], job_id: str = "", *, by_caller: bool = True) -> dict[str, JSON]:
    """Return meta fit for the document's top level; reserved names and what cannot be JSON are refused."""
    fit: dict[str, JSON] = {}
    for key, value in meta.items():
        try:
            name = clean_key(key)
        except InvalidValue as error:
            refuse(InvalidValue(f"Meta is left out. {error}"), job_id)
            continue
        if name in RESERVED:
            msg = f"Meta may not set {name!r}: the job document uses that key itself. Choose another name."
            refuse(ReservedMetaKey(msg), job_id)
            continue
        if name in PROGRESS_KEYS and value is not None:
            if (shown := _clean_progress(name, value, job_id)) is not None:
                fit[name] = shown
            continue
        try:
            fit[name] = clean_shown(value, job_id, what=f"Meta {name!r}", by_caller=by_caller)
        except InvalidValue as error:
            refuse(InvalidValue(f"Meta {name!r} is left out. {error}"), job_id)
    return fit


def _clean_progress(name: str, value: object, job_id: str) -> JSON:
    """Return a value of progress as `update()` takes it; None for one that it refuses."""
    return clean_message(value, job_id) if name == "message" else clean_number(name, value, job_id)


def clean_result(value: object, job_id: str = "", *, by_caller: bool = True) -> JSON:
    """Return a result as strict JSON; None for what JSON cannot hold, which is refused."""
    try:
        return clean_shown(value, job_id, what="The result", by_caller=by_caller)
    except InvalidValue as error:
        refuse(InvalidValue(f"The result is not published. {error}"), job_id)
    return None


def fits(*parts: object) -> bool:
    """Return whether these values together leave room in a document of 32 KiB for everything else."""
    return room_beside(*parts) >= 0


def room_beside(*parts: object) -> int:
    """Return the bytes that a job may say beside these values."""
    return _ROOM - sum(map(size_of, parts))


def size_of(value: object) -> int:
    """Return the bytes of a JSON value as text."""
    return len(dump(value).encode())


def with_room(
    new: Mapping[str, JSON], job_id: str, *, data: Mapping[str, JSON], params: Mapping[str, JSON]
) -> dict[str, JSON]:
    """Return those of the `new` values that fit beside `data` and `params`; the others are refused."""
    fit: dict[str, JSON] = {}
    for name, value in new.items():
        size = size_of({**data, **fit, name: value}) + size_of(params)
        if size <= MAX_KEPT_BYTES:
            fit[name] = value
            continue
        limit = f"data and params {size} bytes; they may have {MAX_KEPT_BYTES} together"
        msg = f"Data {name!r} would make the job's {limit}. Keep large values in a table or file, and its key here."
        refuse(DocumentTooLarge(msg), job_id)
    return fit


class Said(NamedTuple):
    """The parts of a job's document whose size the job decides, as they are now."""

    meta: Mapping[str, JSON]
    strategy_meta: Mapping[str, JSON] | None
    result: JSON
    message: str | None

    def has_room(self, **new: Any) -> bool:
        """Return whether the document has room for these parts in place of its own; meta adds to its fields."""
        return self.room(**new) >= 0

    def room(self, **new: Any) -> int:
        """Return the bytes that are left beside these parts, in place of the document's own."""
        parts = {**self._asdict(), **new, "meta": {**self.meta, **new.get("meta", {})}}
        return room_beside(*parts.values())

    def takes(self, what: str, job_id: str, **new: Any) -> bool:
        """Return whether the document has room for these parts; refuse them as `what` if not."""
        has_room = self.has_room(**new)
        if not has_room:
            refuse_too_large(what, job_id)
        return has_room


def within_limit(before: Job | None, after: Job) -> Job:
    """Return `after`, without its additions to `before` where its document would exceed 32 KiB.

    The last guard: parts that fitted when they were set, one by one, may be too much together. Meta goes first, then
    the result, then the message.
    """
    is_bare = not (after.meta or after.strategy_meta or after.result or after.error)
    is_small = is_bare and len(after.message) <= MAX_SENTENCE
    if is_small or len(after.text.encode()) <= MAX_DOCUMENT_BYTES:
        return after
    msg = "The document of %r would exceed %d bytes; what is new in it is left out"
    logger.error(msg, after.job_id, MAX_DOCUMENT_BYTES, extra={"job_id": after.job_id})
    said = before or Job(job_id=after.job_id)
    left = after.but(meta=said.meta, strategy_meta=said.strategy_meta)
    for part in ("result", "message"):
        if len(left.text.encode()) > MAX_DOCUMENT_BYTES:
            left = left.but(**{part: getattr(said, part)})
    return left


def refuse_too_large(what: str, job_id: str) -> None:
    """Say that `what` was left out because the document would exceed 32 KiB."""
    limit = f"what the job says exceed {_ROOM} bytes, of the document's {MAX_DOCUMENT_BYTES}"
    msg = f"{what} would make {limit}; publish a link to large values instead."
    refuse(DocumentTooLarge(msg), job_id)
