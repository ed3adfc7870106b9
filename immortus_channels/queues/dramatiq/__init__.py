"""Dramatiq."""

from __future__ import annotations

from immortus_channels.queues.dramatiq.adapter import DramatiqQueue

__all__ = ["DramatiqQueue"]
