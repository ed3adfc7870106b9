"""What tasks and strategies publish, made fit for the document: strict JSON, no reserved keys, bounded."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from immortus_channels.conf import is_strict
from immortus_channels.exceptions import DocumentTooLarge, ImmortusError, ReservedMetaKey
from immortus_channels.jobs import DOCUMENT_KEYS, JSON, MAX_DOCUMENT_BYTES, PROGRESS_KEYS, dump

logger = logging.getLogger("immortus_channels")

RESERVED = DOCUMENT_KEYS - PROGRESS_KEYS
_ROOM = MAX_DOCUMENT_BYTES - 2048
"""Bytes for what a task says; the rest is for the document's own keys."""


def refuse(error: ImmortusError, job_id: str) -> None:
    """Raise `error` where a developer will see it (DEBUG, tests), else log it: a job never breaks."""
    if is_strict():
        raise error
    logger.error("%s", error, extra={"job_id": job_id})


def clean(value: object, job_id: str = "") -> JSON:
    """`value` as strict JSON, written as `DjangoJSONEncoder` writes it.

    NaN and infinities become null; NUL and lone surrogates in texts become U+FFFD: PostgreSQL and WebSockets
    refuse them. Raises TypeError for what JSON cannot hold.
    """
    text = json.dumps(value, cls=DjangoJSONEncoder)
    given = json.loads(text)
    if not any(mark in text for mark in _SUSPECT):
        return given  # type: ignore[no-any-return]
    repaired = _repair(given)
    if json.dumps(repaired) != text:
        logger.warning(
            "A published value held NaN, NUL or half a character, which JSON cannot carry; it was replaced.",
            extra={"job_id": job_id},
        )
    return repaired  # type: ignore[no-any-return]


_SUSPECT = ("NaN", "Infinity", "\\u0000", "\\ud")


def clean_text(text: object) -> str:
    """`text` (a lazy translation too) without what stores and sockets refuse."""
    return _repair_text(str(text))


def _repair(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
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
        name = str(key)
        if name in RESERVED:
            msg = f"Meta may not set {name!r}: the job document uses that key itself. Choose another name."
            refuse(ReservedMetaKey(msg), job_id)
            continue
        try:
            fit[name] = clean(value, job_id)
        except (TypeError, ValueError) as error:
            refuse(ReservedMetaKey(f"Meta {name!r} cannot be written as JSON: {error}."), job_id)
    return fit


def fits(*parts: object) -> bool:
    """Whether these values together leave room in a document of 32 KiB."""
    return sum(len(dump(part).encode()) for part in parts) <= _ROOM


def refuse_too_large(what: str, job_id: str) -> None:
    """Say that `what` was left out because the document would exceed 32 KiB."""
    msg = f"{what} would make the job document exceed {MAX_DOCUMENT_BYTES} bytes; publish a link to large values instead."
    refuse(DocumentTooLarge(msg), job_id)
