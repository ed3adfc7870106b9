"""Whether gevent or eventlet have replaced threads: then no event loop of ours may run beside what they run."""

from __future__ import annotations

import sys


def is_green() -> bool:
    """Whether gevent or eventlet have replaced this process' threads."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent is not None and gevent.is_module_patched("threading"))
        or (eventlet is not None and eventlet.is_monkey_patched("thread"))
    )
