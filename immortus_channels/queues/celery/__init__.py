"""Celery."""

from __future__ import annotations

from immortus_channels.queues.celery.adapter import PROBE, CeleryQueue

__all__ = ["PROBE", "CeleryQueue"]
