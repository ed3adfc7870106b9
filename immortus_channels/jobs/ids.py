"""Which texts are job ids, what else stands for one, and which fit into the path of a URL."""

from __future__ import annotations

import re
import uuid
from typing import TypeAlias, TypeGuard

from immortus_channels.guarded import quoted

MAX_LENGTH = 255

JobId: TypeAlias = "str | uuid.UUID | int"
"""What may be given for a job's id; it is kept as text, a UUID's with hyphens."""

IN_PATH = r"[A-Za-z0-9_~:@-](?:[A-Za-z0-9._~:@-]{0,253}[A-Za-z0-9_~:@-])?"
"""Ids that need no escaping and that no server mistakes for `.` or `..`. Every other id goes by query."""

_IN_PATH = re.compile(IN_PATH)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_BEYOND = 10**MAX_LENGTH


def text_of(given: object) -> str | None:
    """The id that is given, as text; None for anything but text, a UUID and a whole number. True is not a number.

    Whether a job can have this id, `is_job_id` tells.
    """
    if type(given) is str:
        return given
    match given:
        case bool():
            return None
        case str():
            return str.__str__(given)  # an enum's member stands for its value
        case int():
            return int.__repr__(given) if abs(given) < _BEYOND else None
        case uuid.UUID():
            return str(given)
    return None


def given_as(given: object) -> str:
    """The id that is given, as text. Raises TypeError for anything that `text_of` does not take."""
    text = text_of(given)
    if text is None:
        msg = (
            f"{quoted(given)} is not a job's id: give text, a UUID or a whole number; "
            "of what delay() returned, that is its `id`."
        )
        raise TypeError(msg)
    return text


def is_job_id(value: object) -> TypeGuard[str]:
    """Whether `value` can name a job: text of 1 to 255 characters without NUL and lone surrogates."""
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and not _UNSTORABLE.search(value)


def fits_path(job_id: str) -> bool:
    """Whether the id goes into a path as it is."""
    return _IN_PATH.fullmatch(job_id) is not None
