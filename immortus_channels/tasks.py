"""The task that `manage.py immortus_doctor` sends; Celery finds it because this package is an installed app."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from immortus_channels.queues.tracked import tracked

# Other task queues look for this module too, where Celery may not be installed.
if find_spec("celery") is not None:
    from celery import shared_task

    from immortus_channels.stores.sqlite.witness import testify

    @shared_task(name="immortus_channels.probe", expires=60, bind=True)  # type: ignore[untyped-decorator]
    @tracked
    def probe(self: Any) -> None:
        """Do nothing: that it is done is the news, or that its sender cannot learn of it."""
        testify(self.request.id)
