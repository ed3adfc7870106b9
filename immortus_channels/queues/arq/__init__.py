"""arq."""

from __future__ import annotations

from immortus_channels.queues.arq.adapter import ArqQueue

__all__ = ["ArqQueue"]
