"""The suite's worker of taskiq: Django is set up before the tasks are imported."""

from __future__ import annotations

import django

django.setup()

from immortus_channels.testing.queues.project import tasks  # noqa: E402

broker = tasks.DRIVER.broker
tasks.DRIVER.keep_scheduling()
