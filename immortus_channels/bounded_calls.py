"""Questions to what may hang: a queue's own records, a project's strategies. Nobody waits for them for long.

Python cannot end a call that hangs, only stop waiting for it: so each is made in a thread of its own, of which there
are few.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from immortus_channels.threads import call_in_thread

logger = logging.getLogger("immortus_channels")

Answer = TypeVar("Answer")

PATIENCE = 2.0
"""Seconds that an answer may take."""
PAUSE = 5.0
"""Seconds for which nobody is asked again who did not answer in time."""
MOST = 4
"""Calls of one kind at a time, those included that nobody waits for any more."""


class NoAnswer(Exception):
    """There was none in time, or there was none a moment ago."""


class _Asked:
    """One whom questions go to."""

    def __init__(self) -> None:
        self.places = threading.BoundedSemaphore(MOST)
        self.silent_until = 0.0


_asked: defaultdict[str, _Asked] = defaultdict(_Asked)


def ask(whom: str, question: Callable[[], Answer]) -> Answer:
    """What `question` returns or raises; it is called in a thread of its own, with the caller's context variables.

    `whom` names who is asked, for the log too. Raises NoAnswer when there is none within `PATIENCE` seconds.
    """
    asked, began = _asked[whom], time.monotonic()
    if began < asked.silent_until:
        raise NoAnswer
    if asked.places.acquire(timeout=PATIENCE):
        future = call_in_thread(question, name="immortus-question")
        future.add_done_callback(lambda _: asked.places.release())
        try:
            return future.result(max(began + PATIENCE - time.monotonic(), 0))
        except TimeoutError:
            if future.done():
                raise  # its own
    asked.silent_until = time.monotonic() + PAUSE
    logger.warning("No answer from %s within %g s; it is not asked again for %g s", whom, PATIENCE, PAUSE)
    raise NoAnswer


# A child has none of the threads that its parent's calls hang in.
os.register_at_fork(after_in_child=_asked.clear)
