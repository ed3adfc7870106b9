"""Job ids: the texts and other values that name a job, and the ids that fit into the path of a URL."""

from __future__ import annotations

import re
import uuid
from typing import TypeAlias, TypeGuard

from immortus_channels.guarded import quoted
from immortus_channels.keys import MAX_LENGTH, MAX_NAMESPACE, SEPARATOR

JobId: TypeAlias = "str | uuid.UUID | int"
"""The types that a caller may give as a job's id; the job keeps it as text, a UUID's with hyphens."""

IN_PATH = r"[A-Za-z0-9_~:@-](?:[A-Za-z0-9._~:@-]{0,253}[A-Za-z0-9_~:@-])?"
"""The pattern of ids that need no escaping and that no server mistakes for `.` or `..`. Other ids go in the query."""

_IN_PATH = re.compile(IN_PATH)
_UNFIT = re.compile(f"[\x00{SEPARATOR}\ud800-\udfff]")
_BEYOND = 10**MAX_LENGTH


def text_of(given: object) -> str | None:
    """Return the given id as text; None for anything but text, a UUID and a whole number. True is not a number.

    `is_job_id` says whether a job can have this id.
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
    """Return the given id as text. Raises TypeError for anything that `text_of` does not take."""
    text = text_of(given)
    if text is None:
        msg = (
            f"{quoted(given)} is not a job's id: give text, a UUID or a whole number; "
            "of what delay() returned, that is its `id`."
        )
        raise TypeError(msg)
    return text


def is_job_id(value: object) -> TypeGuard[str]:
    """Return whether `value` can name a job: text of 1 to 255 characters without NUL, U+001F and lone surrogates."""
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and not _UNFIT.search(value)


def is_namespace(value: object) -> TypeGuard[str]:
    """Return whether `value` can be a namespace: text of up to 63 characters, none of which an id may not have."""
    return isinstance(value, str) and len(value) <= MAX_NAMESPACE and not _UNFIT.search(value)


def is_key(value: object) -> TypeGuard[str]:
    """Return whether `value` can be the key of a job: its id, after its namespace if it has one."""
    if not isinstance(value, str) or SEPARATOR not in value:
        return is_job_id(value)
    namespace, _, job_id = value.rpartition(SEPARATOR)
    return namespace != "" and is_namespace(namespace) and is_job_id(job_id)


def fits_path(job_id: str) -> bool:
    """Return whether the id goes into a path as it is."""
    return _IN_PATH.fullmatch(job_id) is not None
