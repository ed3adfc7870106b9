"""Bounds the time of calls to what may hang: a queue's own records, a project's strategies.

Python cannot end a call that hangs, only stop waiting for it. So each call has a thread of its own, and there are few
of these threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from immortus_channels.logs import logger
from immortus_channels.threads import call_in_thread

Answer = TypeVar("Answer")

PATIENCE = 2.0
"""Seconds to wait for an answer."""
PAUSE = 5.0
"""Seconds for which a source that did not answer in time is not asked again."""
MOST = 4
"""Calls of one source at a time, including those whose caller has stopped waiting."""


class NoAnswer(Exception):
    """The source did not answer in time, now or a moment ago."""


class _Target:
    """A target of calls: the room for calls to it, and until when it is left alone."""

    def __init__(self) -> None:
        self.places = threading.BoundedSemaphore(MOST)
        self.silent_until = 0.0


_targets: defaultdict[str, _Target] = defaultdict(_Target)


def ask(source: str, question: Callable[[], Answer]) -> Answer:
    """Ask a question in a thread of its own, with the caller's context variables; return or raise what it does.

    `source` names what answers, for the log too. Raises NoAnswer when no answer comes within `PATIENCE` seconds.
    """
    target, began = _targets[source], time.monotonic()
    if began < target.silent_until:
        raise NoAnswer
    if target.places.acquire(timeout=PATIENCE):
        future = call_in_thread(question, name="immortus-question")
        future.add_done_callback(lambda _: target.places.release())
        try:
            return future.result(max(began + PATIENCE - time.monotonic(), 0))
        except TimeoutError:
            if future.done():
                raise  # its own
    target.silent_until = time.monotonic() + PAUSE
    logger.warning("No answer from %s within %g s; it is not asked again for %g s", source, PATIENCE, PAUSE)
    raise NoAnswer


# A child has none of the threads that its parent's calls hang in.
os.register_at_fork(after_in_child=_targets.clear)
