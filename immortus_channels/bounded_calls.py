"""Calls to what may hang, with a time limit: a queue's own records, a project's strategies.

Python cannot end a call that hangs, only stop waiting for it: so each call has a thread of its own, and there are few
of them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from django.db import connections

logger = logging.getLogger("immortus_channels")

Answer = TypeVar("Answer")

PATIENCE = 2.0
"""Seconds that an answer may take."""
PAUSE = 5.0
"""Seconds for which a target that was late gets no further call."""
MOST = 4
"""Calls of one kind at a time, including those that are no longer waited for."""


class NoAnswer(Exception):
    """The answer was not in time, or an earlier one was late a moment ago."""


class _Target:
    """A target of calls."""

    def __init__(self) -> None:
        self.places = threading.BoundedSemaphore(MOST)
        self.silent_until = 0.0


_targets: defaultdict[str, _Target] = defaultdict(_Target)


def ask(name: str, question: Callable[[], Answer]) -> Answer:
    """Return what `question` returns, or raise; call it in a thread of its own, with the caller's context variables.

    `name` names the target, for the log too. Raises NoAnswer if there is none within `PATIENCE` seconds.
    """
    target, began = _targets[name], time.monotonic()
    if began < target.silent_until:
        raise NoAnswer
    if target.places.acquire(timeout=PATIENCE):
        future = _start(question, target)
        try:
            return future.result(max(began + PATIENCE - time.monotonic(), 0))
        except TimeoutError:
            if future.done():
                raise  # its own
    target.silent_until = time.monotonic() + PAUSE
    logger.warning("No answer from %s within %g s; it gets no call for another %g s", name, PATIENCE, PAUSE)
    raise NoAnswer


def _start(question: Callable[[], Answer], target: _Target) -> Future[Answer]:
    future: Future[Answer] = Future()
    context = copy_context()

    def call() -> None:
        try:
            future.set_result(context.run(question))
        except Exception as error:  # noqa: BLE001 - the waiting caller gets it
            future.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - even an exception that ends a process only ends this answer
            future.set_exception(RuntimeError(f"{type(error).__name__} was raised"))
        finally:
            connections.close_all()
            target.places.release()

    try:
        threading.Thread(target=call, name="immortus-question", daemon=True).start()
    except RuntimeError as error:  # the system has no thread left
        target.places.release()
        future.set_exception(error)
    return future


# A child has none of the threads that its parent's calls hang in.
os.register_at_fork(after_in_child=_targets.clear)
