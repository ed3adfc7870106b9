"""What kind of thread this is: one that runs an event loop, or a green one that gevent or eventlet put in its place."""

from __future__ import annotations

import asyncio
import sys


def is_green() -> bool:
    """Return whether gevent or eventlet have replaced threads, which no event loop of ours may then block."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent is not None and gevent.is_module_patched("threading"))
        or (eventlet is not None and eventlet.is_monkey_patched("thread"))
    )


def is_in_event_loop() -> bool:
    """Return whether this is an event loop's thread, where no other loop can run: inline writes may come from one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
