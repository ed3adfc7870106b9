"""For what may fail again and again: one log line for each trouble, not for each message."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator

from immortus_channels.recent import Recent

logger = logging.getLogger("immortus_channels")

SILENCE = 60.0
"""Seconds for which nothing is said twice."""
_REMEMBERED = 1_000


class Quiet(logging.Filter):
    """Lets each complaint through once a minute, whichever job it is about; what repeats with every job is one line.

    A record that passes tells machines the same as its text tells people: `error` is the exception's class, `repeated`
    how often the same was left out before; `job_id` and others come from whoever logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: Recent[object, tuple[float, int]] = Recent(_REMEMBERED)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this was not said within the last minute."""
        error = record.exc_info[1] if record.exc_info else None
        record.error = getattr(record, "error", error and type(error).__name__)
        if hasattr(record, "trouble"):  # counts for itself
            return True
        now = time.monotonic()
        key = (record.msg, repr(error), *_without_job(record))
        at, left_out = self._said.get(key, (-SILENCE, 0))
        if now - at < SILENCE:
            self._said[key] = at, left_out + 1
            return False
        self._said[key] = now, 0
        record.repeated = left_out
        return True

    def forget(self) -> None:
        """Say everything anew: for tests."""
        self._said.clear()


def _without_job(record: logging.LogRecord) -> Iterator[str]:
    """What the text is about, but for the one job."""
    job_id = getattr(record, "job_id", None)
    for told in map(str, record.args or ()):
        if told != job_id and repr(job_id) not in told:
            yield told


quiet = Quiet()
logger.addFilter(quiet)


class Trouble:
    """Whether one particular thing fails at the moment; for one thread, or for one event loop.

    It is told when it begins and when it ends. What fails and works by turns is told once a minute at most.
    """

    def __init__(self, what: str, cure: str) -> None:
        """`what` is the subject of "… fails"; `cure` says what happens meanwhile, or what to do."""
        self._what = what
        self._cure = cure
        self.is_on = False
        self._is_told = False
        self._told_at = -math.inf
        self._failures = 0

    def begin(self, error: BaseException) -> None:
        """It failed: log the first time."""
        self.is_on = True
        self._failures += 1
        now = time.monotonic()
        if self._is_told or now - self._told_at < SILENCE:
            return
        self._is_told, self._told_at = True, now
        name = type(error).__name__
        told = {"trouble": self._what, "failures": self._failures, "error": name}
        reason = f"{name}: {error}" if str(error) else name
        logger.warning("%s fails (%s). %s", self._what, reason, self._cure, extra=told)

    def end(self) -> None:
        """It worked: log if it was told to fail before."""
        if self._is_told:
            told = {"trouble": self._what, "failures": self._failures}
            logger.warning("%s works again.", self._what, extra=told)
        self.is_on = self._is_told = False
        self._failures = 0
