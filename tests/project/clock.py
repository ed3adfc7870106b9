"""A host whose clock is wrong: `CLOCK_SKEW` seconds ahead."""

from __future__ import annotations

import os
import time


def skew() -> None:
    """Set this process' clock wrong, if it is to be."""
    seconds = float(os.environ.get("CLOCK_SKEW", "0"))
    if not seconds:
        return
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)
