"""Wiring: the only place that connects anything."""

from __future__ import annotations

from importlib.util import find_spec

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class ImmortusChannelsConfig(AppConfig):
    """Connects the task queues in use to the tracker, and revocations of permissions to the hubs."""

    name = "immortus_channels"
    verbose_name = _("Jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the queues; Celery if it is installed."""
        from immortus_channels import checks, queues, tracking  # noqa: PLC0415 - they need the app registry
        from immortus_channels.access import signals  # noqa: PLC0415 - they need the app registry
        from immortus_channels.stores.sqlite.migration import migrate_file  # noqa: PLC0415 - as above

        checks.connect()
        signals.connect()
        post_migrate.connect(migrate_file, sender=self)
        if queues.connected:
            return
        if find_spec("celery") is not None:
            from immortus_channels.queues.celery import CeleryQueue  # noqa: PLC0415 - Celery may not be installed

            queue = CeleryQueue()
            queue.connect(tracking)
            queues.connected.append(queue)
