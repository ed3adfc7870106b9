"""Django-Q2."""

from __future__ import annotations

from immortus_channels.queues.django_q.adapter import DjangoQQueue

__all__ = ["DjangoQQueue"]
