"""Versions that clients or the channel layer send, and how far ahead of the clock they may be."""

from __future__ import annotations

import time

from immortus_channels.jobs.lifecycle import SECOND

AHEAD = 600 * SECOND
"""Microseconds that a version may be ahead of this host's clock and still be believed: clocks differ."""


def is_believable(version: int) -> bool:
    """Return whether a store may have issued this version, which a client or a message of the channel layer gives."""
    return version <= time.time_ns() // 1000 + AHEAD
