"""The tasks that `manage.py immortus_doctor` sends; queues find them because this package is an installed app."""

from __future__ import annotations

from immortus_channels.queues import probing

probing.declare(probing.DECLARED)
