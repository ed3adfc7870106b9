"""SAQ."""

from __future__ import annotations

from immortus_channels.queues.saq.adapter import SAQQueue

__all__ = ["SAQQueue"]
