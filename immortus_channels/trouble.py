"""One log line when something begins to fail and one when it works again, however often it is tried."""

from __future__ import annotations

import logging

logger = logging.getLogger("immortus_channels")


class Trouble:
    """Whether one particular thing fails at the moment; for one thread, or for one event loop."""

    def __init__(self, what: str, cure: str) -> None:
        """`what` is the subject of "… fails"; `cure` says what happens meanwhile, or what to do."""
        self._what = what
        self._cure = cure
        self.is_on = False

    def begin(self, error: BaseException) -> None:
        """It failed: log the first time."""
        if not self.is_on:
            logger.warning("%s fails (%s: %s). %s", self._what, type(error).__name__, error, self._cure)
        self.is_on = True

    def end(self) -> None:
        """It worked: log if it failed before."""
        if self.is_on:
            logger.warning("%s works again.", self._what)
        self.is_on = False
