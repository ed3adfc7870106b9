"""The writer, which writes to the store and sends to the channel layer: one per process, a new one after a fork."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from immortus_channels.conf import is_inline
from immortus_channels.stores import forget_connections
from immortus_channels.threads import is_green
from immortus_channels.writer.green import GreenWriter
from immortus_channels.writer.inline import InlineWriter
from immortus_channels.writer.run import Run, current_run
from immortus_channels.writer.thread import DRAIN, WAIT, Writer
from immortus_channels.writer.write import Write, perform, report_of

__all__ = [
    "DRAIN",
    "WAIT",
    "Write",
    "brought_along",
    "drain",
    "get_writer",
    "is_behind",
    "is_inline",
    "patience",
    "perform",
    "report_of",
]

_writer: Writer | None = None
_lock = threading.Lock()
brought_along: list[Run] = []
"""In a forked child, the runs of its parent: what the child says of their jobs goes the way of any other process."""


def get_writer() -> Writer:
    """Return the writer of this process."""
    global _writer  # noqa: PLW0603 - one per process, a new one after a fork
    kind = GreenWriter if is_green() else InlineWriter if is_inline() else Writer
    with _lock:
        if type(_writer) is not kind:
            drain()
            _writer = kind()
            _drain_at_end()
        return _writer


def _drain_at_end() -> None:
    """Drain at the end of a child of multiprocessing or billiard, which `atexit` does not hear of."""
    for name in ("multiprocessing.util", "billiard.util"):
        util = sys.modules.get(name)
        if util is not None:
            util.Finalize(None, drain, exitpriority=0)


def patience() -> float:
    """Return how long a call outside of a run waits for its write: a job's child may end without a further word."""
    return DRAIN if brought_along else WAIT


def _after_fork() -> None:
    """Begin afresh in the child: it lacks the thread, and may not use the parent's connections and locks."""
    global _writer, _lock
    run = current_run.get()
    runs = [*([] if run is None else [run]), *([] if _writer is None else _writer.brought_along())]
    brought_along[:] = [run for run in dict.fromkeys(runs) if not run.is_share]
    for run in brought_along:
        run.after_fork()
    _writer, _lock = None, threading.Lock()
    forget_connections()


def is_behind() -> bool:
    """Return whether changes of this process wait because the store could not take them."""
    return _writer is not None and _writer.is_behind


def drain(timeout: float = DRAIN) -> None:
    """Write what is left before the process ends or forks, for `timeout` seconds at most."""
    if _writer is not None:
        _writer.stop(timeout)


def _before_fork() -> None:
    if _writer is not None:
        _writer.pause()


def _after_fork_in_parent() -> None:
    """Go on, also in Celery's main process, which drained to fork: what is not written yet waits no longer."""
    if _writer is not None:
        _writer.resume()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork, after_in_parent=_after_fork_in_parent)
atexit.register(drain)
