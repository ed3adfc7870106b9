"""Logging for failures that repeat: one line for each trouble or complaint, not one for each message."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator

from immortus_channels.recent import Recent

logger = logging.getLogger("immortus_channels")

SILENCE = 60.0
"""Seconds for which a message is not repeated."""
_REMEMBERED = 1_000


class Quiet(logging.Filter):
    """Lets each complaint through once a minute, whichever job it is about; what repeats with every job is one line.

    A record that passes has attributes for machines: `error` is the exception's class, `repeated` how often the same
    message was left out before; `job_id` and others come from the caller.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged: Recent[object, tuple[float, int]] = Recent(_REMEMBERED)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this message was not logged within the last minute."""
        error = record.exc_info[1] if record.exc_info else None
        record.error = getattr(record, "error", error and type(error).__name__)
        if hasattr(record, "trouble"):  # counts for itself
            return True
        now = time.monotonic()
        key = (record.msg, repr(error), *_without_job(record))
        at, left_out = self._logged.get(key, (-SILENCE, 0))
        if now - at < SILENCE:
            self._logged[key] = at, left_out + 1
            return False
        self._logged[key] = now, 0
        record.repeated = left_out
        return True

    def forget(self) -> None:
        """Forget all messages, so that each is logged again: for tests."""
        self._logged.clear()


def _without_job(record: logging.LogRecord) -> Iterator[str]:
    """Yield the arguments of the message, without those that name the job."""
    job_id = getattr(record, "job_id", None)
    for argument in map(str, record.args or ()):
        if argument != job_id and repr(job_id) not in argument:
            yield argument


quiet = Quiet()
logger.addFilter(quiet)


class Trouble:
    """Whether one particular thing fails at the moment; for one thread, or for one event loop.

    It is logged when it begins and when it ends. A thing that alternates is logged once a minute at most.
    """

    def __init__(self, what: str, hint: str) -> None:
        """Name the trouble: `what` is the subject of "… fails"; `hint` says what happens meanwhile, or what to do."""
        self._what = what
        self._hint = hint
        self.is_on = False
        self._is_logged = False
        self._logged_at = -math.inf
        self._failures = 0

    def begin(self, error: BaseException) -> None:
        """Note a failure, and log the first one."""
        self.is_on = True
        self._failures += 1
        now = time.monotonic()
        if self._is_logged or now - self._logged_at < SILENCE:
            return
        self._is_logged, self._logged_at = True, now
        name = type(error).__name__
        fields = {"trouble": self._what, "failures": self._failures, "error": name}
        reason = f"{name}: {error}" if str(error) else name
        logger.warning("%s fails (%s). %s", self._what, reason, self._hint, extra=fields)

    def end(self) -> None:
        """Note a success, and log it if a failure was logged before."""
        if self._is_logged:
            fields = {"trouble": self._what, "failures": self._failures}
            logger.warning("%s works again.", self._what, extra=fields)
        self.is_on = self._is_logged = False
        self._failures = 0
