"""taskiq."""

from __future__ import annotations

from immortus_channels.queues.taskiq.adapter import TaskiqQueue

__all__ = ["TaskiqQueue"]
