"""Huey."""

from __future__ import annotations

from immortus_channels.queues.huey.adapter import HueyQueue

__all__ = ["HueyQueue"]
