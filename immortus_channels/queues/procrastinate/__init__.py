"""Procrastinate."""

from __future__ import annotations

from immortus_channels.queues.procrastinate.adapter import ProcrastinateQueue

__all__ = ["ProcrastinateQueue"]
