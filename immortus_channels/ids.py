"""Which texts are job ids, and which of those fit into the path of a URL."""

from __future__ import annotations

import re
from typing import TypeGuard

MAX_LENGTH = 255

IN_PATH = r"[A-Za-z0-9_~:@-](?:[A-Za-z0-9._~:@-]{0,253}[A-Za-z0-9_~:@-])?"
"""Ids that need no escaping and that no server mistakes for `.` or `..`. Every other id goes by query."""

_IN_PATH = re.compile(IN_PATH)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_job_id(value: object) -> TypeGuard[str]:
    """Whether `value` can name a job: text of 1 to 255 characters without NUL and lone surrogates."""
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and not _UNSTORABLE.search(value)


def fits_path(job_id: str) -> bool:
    """Whether the id goes into a path as it is."""
    return _IN_PATH.fullmatch(job_id) is not None
