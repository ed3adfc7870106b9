"""The suite's broker where django-dramatiq makes none, and what a worker imports."""

from __future__ import annotations

import os

import django
import dramatiq
from django.apps import apps
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import AsyncIO

broker = RabbitmqBroker(url=os.environ["SUITE_RABBIT"])
broker.add_middleware(AsyncIO())
dramatiq.set_broker(broker)

if not apps.ready:  # a worker imports this module first
    django.setup()
    from immortus_channels.testing.queues.project import tasks  # noqa: F401
