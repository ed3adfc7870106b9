"""Dramatiq's broker, with its own middleware.

What a killed worker has left goes to another one after half a minute. By default that takes a minute and a chance of
one in a thousand at each turn: this demo has few turns.
"""

from __future__ import annotations

import dramatiq
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=settings.REDIS_URL, heartbeat_timeout=30_000, maintenance_chance=1_000_000)
dramatiq.set_broker(broker)
