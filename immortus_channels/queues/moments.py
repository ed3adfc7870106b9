"""The times that queues name, as records have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime.fromtimestamp(0, UTC)


def due(when: datetime | timedelta | float | None, *, is_utc: bool = False) -> int | None:
    """Return when a job is due, in microseconds since 1970; `when` is a time, or how long from now, also in seconds.

    A time without a zone is the host's, unless it `is_utc`.
    """
    if when is None:
        return None
    if not isinstance(when, datetime):
        when = datetime.now(UTC) + (when if isinstance(when, timedelta) else timedelta(seconds=when))
    elif is_utc and when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
