"""What a process knows of its hearing: whether what others push arrives here, and what the log says of it."""

from __future__ import annotations

import logging
import threading

from immortus_channels.logs import Trouble
from immortus_channels.threads import is_in_event_loop
from immortus_channels.websocket.hub.probe import Deaf

logger = logging.getLogger("immortus_channels")


class Hearing:
    """Whether one listener hears; told what arrives, what does not and what fails."""

    FIRST = 1.0
    """Seconds for which health waits for the first message of a listener that has just begun."""
    FOR_GOOD = 3
    """Probes in a row that the layer takes and does not bring, after which it will not recover by itself."""

    def __init__(self) -> None:
        self._deaf = Trouble("Listening to the channel layer", "Until it works, jobs are re-checked often.")
        self._has_heard = threading.Event()
        self._missed_a_push = False
        self._deaf_in_a_row = 0

    @property
    def is_deaf(self) -> bool:
        """Whether listening fails."""
        return self._deaf.is_on

    @property
    def is_failing(self) -> bool:
        """Whether listening fails, or the last change that should have been heard was found by a re-check."""
        return self.is_deaf or self._missed_a_push

    def has_heard(self) -> bool:
        """Whether anything was ever heard; in a thread without an event loop, waits a moment for the first message."""
        return self._has_heard.is_set() if is_in_event_loop() else self._has_heard.wait(self.FIRST)

    def heard(self, *, push: bool) -> None:
        """A message arrived: a push, or one that this process sent itself and that says nothing of what others send."""
        self._has_heard.set()
        self._deaf_in_a_row = 0
        if push:
            self._missed_a_push = False
        self._deaf.end()

    def missed(self) -> None:
        """A push did not arrive that should have."""
        self._missed_a_push = True

    def failed(self, error: Exception) -> None:
        """Listening ended; it is begun anew."""
        self._deaf.begin(error)
        self._deaf_in_a_row = self._deaf_in_a_row + 1 if isinstance(error, Deaf) else 0
        if self._deaf_in_a_row == self.FOR_GOOD:
            logger.warning(
                "The channel layer takes messages and has brought none of them here for a while, although listening "
                "was begun anew. Some layers, as that of channels_postgres, never hear again once their connection "
                "was lost: restart this process. Until then its pages learn of changes by re-checks."
            )
