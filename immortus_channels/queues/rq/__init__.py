"""RQ."""

from __future__ import annotations

from immortus_channels.queues.rq.adapter import RQQueue

__all__ = ["RQQueue"]
