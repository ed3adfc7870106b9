"""The writer, which writes to the store and sends to the channel layer: one per process, a new one after a fork."""

from __future__ import annotations

import atexit
import os
import threading

from immortus_channels.conf import is_inline
from immortus_channels.stores import forget_connections
from immortus_channels.threads import is_green
from immortus_channels.writer.inline import GreenWriter, InlineWriter
from immortus_channels.writer.run import current_run
from immortus_channels.writer.thread import DRAIN, WAIT, Writer
from immortus_channels.writer.write import Write, perform, report_of

__all__ = ["WAIT", "Write", "drain", "get_writer", "is_behind", "is_inline", "perform", "report_of"]

_writer: Writer | None = None
_lock = threading.Lock()


def get_writer() -> Writer:
    """Return the writer of this process."""
    global _writer  # noqa: PLW0603 - one per process, a new one after a fork
    kind = GreenWriter if is_green() else InlineWriter if is_inline() else Writer
    with _lock:
        if type(_writer) is not kind:
            drain()
            _writer = kind()
        return _writer


def _after_fork() -> None:
    """Begin afresh in the child: it lacks the thread, and may not use the parent's connections and locks."""
    global _writer, _lock
    _writer, _lock = None, threading.Lock()
    run = current_run.get()
    if run is not None:
        run.after_fork()
    forget_connections()


def is_behind() -> bool:
    """Return whether changes of this process wait because the store could not take them."""
    return _writer is not None and _writer.is_behind


def drain(timeout: float = DRAIN) -> None:
    """Write what is left before the process ends or forks, for `timeout` seconds at most."""
    if _writer is not None:
        _writer.stop(timeout)


def _after_fork_in_parent() -> None:
    """Go on in Celery's main process, which drained to fork: what the store did not take yet waits no longer."""
    if _writer is not None:
        _writer.resume()


os.register_at_fork(after_in_child=_after_fork, after_in_parent=_after_fork_in_parent)
atexit.register(drain)
