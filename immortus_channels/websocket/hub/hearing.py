"""Whether the pushes of other processes arrive here, as far as this process can know, and what it logs about that."""

from __future__ import annotations

import threading

from immortus_channels.logs import Trouble, logger
from immortus_channels.threads import is_in_event_loop
from immortus_channels.websocket.hub.probe import Deaf


class Hearing:
    """Judges one listener by the messages that arrive, the pushes that do not, and the errors."""

    FIRST = 1.0
    """Seconds that a health check waits for the first message of a listener that has just begun."""
    FOR_GOOD = 3
    """Lost probes in a row after which the layer will not recover on its own."""

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
        """Whether listening fails, or a re-check found the last change although its push should have arrived."""
        return self.is_deaf or self._missed_a_push

    def has_heard(self) -> bool:
        """Return whether any message ever arrived; in a thread without an event loop, wait a moment for the first."""
        return self._has_heard.is_set() if is_in_event_loop() else self._has_heard.wait(self.FIRST)

    def heard(self, *, push: bool) -> None:
        """Note a message: a push, or a probe of this process, which proves nothing about the pushes of others."""
        self._has_heard.set()
        self._deaf_in_a_row = 0
        if push:
            self._missed_a_push = False
        self._deaf.end()

    def missed(self) -> None:
        """Note that a push did not arrive although it should have."""
        self._missed_a_push = True

    def failed(self, error: Exception) -> None:
        """Note that listening failed; it will begin again."""
        self._deaf.begin(error)
        self._deaf_in_a_row = self._deaf_in_a_row + 1 if isinstance(error, Deaf) else 0
        if self._deaf_in_a_row == self.FOR_GOOD:
            logger.warning(
                "The channel layer takes messages and has brought none of them here for a while, although the hub "
                "began to listen again. Some layers, such as that of channels_postgres, never hear again once their "
                "connection was lost: restart this process. Until then its pages learn of changes by re-checks."
            )
