"""Wiring: the only place that connects anything; what it connects is loaded when it is first called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, register
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from immortus_channels.loading import ADAPTERS, Later, when_imported

if TYPE_CHECKING:
    from immortus_channels import tracking
    from immortus_channels.queues import adapters
else:
    adapters = Later("immortus_channels.queues.adapters")
    tracking = Later("immortus_channels.tracking")


class ImmortusChannelsConfig(AppConfig):
    """Connects the task queues in use to the tracker, and revocations of permissions to the hubs."""

    name = "immortus_channels"
    verbose_name = _("Jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the checks, the signals, and each queue once its library is imported."""
        from immortus_channels.access import signals  # noqa: PLC0415 - it needs the app registry

        register(_check, "immortus")
        register(_check_deployment, "immortus", deploy=True)
        signals.connect()
        post_migrate.connect(_migrate_file, sender=self)
        for module, path in ADAPTERS.items():
            connect_when_imported(module, path)


def _check(**_: object) -> list[CheckMessage]:
    from immortus_channels import checks  # noqa: PLC0415 - only what is checked needs it

    return checks.check_all()


def _check_deployment(**_: object) -> list[CheckMessage]:
    from immortus_channels import checks  # noqa: PLC0415 - as above

    return checks.check_deployment()


def _migrate_file(**arguments: Any) -> None:
    from immortus_channels.stores.sqlite.migration import migrate_file  # noqa: PLC0415 - only `migrate` needs it

    migrate_file(**arguments)


def connect_when_imported(module: str, path: str) -> None:
    """Have the adapter with this dotted path connected once the module has been imported.

    A package with an adapter of its own calls this in the `ready()` of its AppConfig.
    """
    ADAPTERS[module] = path
    when_imported(module, lambda: adapters.connect(path, tracking, brought_by=module))
