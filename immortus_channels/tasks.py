"""The task that `manage.py immortus_doctor` sends; Celery finds it because this package is an installed app."""

from __future__ import annotations

from importlib.util import find_spec

from immortus_channels.marking import tracked

# Other task queues look for this module too, where Celery may not be installed.
if find_spec("celery") is not None:
    from celery import shared_task

    @shared_task(name="immortus_channels.probe", expires=60)  # type: ignore[untyped-decorator]
    @tracked
    def probe() -> None:
        """Do nothing: that it is done is the news."""
