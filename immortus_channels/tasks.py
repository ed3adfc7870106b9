"""The task that `manage.py immortus_doctor` sends; Celery finds it because this package is an installed app."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from immortus_channels.loading import Later
from immortus_channels.queues.tracked import tracked

if TYPE_CHECKING:
    from immortus_channels.stores.sqlite import witness
else:
    witness = Later("immortus_channels.stores.sqlite.witness")

# Other task queues import this module too, and Celery may not be installed there.
if find_spec("celery") is not None:
    from celery import shared_task

    @shared_task(name="immortus_channels.probe", expires=60, bind=True)  # type: ignore[untyped-decorator]
    @tracked
    def probe(self: Any) -> None:
        """Do nothing: the doctor checks that it ran, and that its sender can see it."""
        witness.testify(self.request.id)
