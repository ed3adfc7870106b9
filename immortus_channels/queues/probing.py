"""The doctor's probe: each adapter's `probe` module makes a task of it, and sends it, in the queue's own way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from immortus_channels.loading import Later
from immortus_channels.logs import logger

if TYPE_CHECKING:
    from immortus_channels.stores.sqlite import witness
    from immortus_channels.writer import run
else:
    run = Later("immortus_channels.writer.run")
    witness = Later("immortus_channels.stores.sqlite.witness")

_NEEDED = {
    "celery": "celery",
    "django_q": "django_q",
    "django_tasks": "",
    "dramatiq": "django_dramatiq",
    "huey": "huey.contrib.djhuey",
    "procrastinate": "procrastinate.contrib.django",
    "rq": "django_rq",
}
"""The module that a project must use, by the adapter's folder: without it, only the project knows how to send."""
DECLARED = ("celery", "dramatiq", "huey", "procrastinate")
"""The folders of queues whose workers run declared tasks alone; the others find the probe by its path."""
_WHILE = 0.5
"""Seconds in which the doctor begins to listen: some queues choose the job's id themselves."""


def probe_of(folder: str) -> Any:
    """Return an adapter's module that sends the probe; None if the doctor cannot know how."""
    needed = _NEEDED.get(folder)
    if needed is None or (needed and needed not in sys.modules):
        return None
    return import_module(f"immortus_channels.queues.{folder}.probe")


def declare(folders: Iterable[str]) -> None:
    """Declare the probe in these queues, as far as they are in use; what goes wrong stops no worker."""
    for folder in folders:
        try:
            probe_of(folder)
        except Exception:
            logger.exception("The probe of immortus_doctor cannot be declared for %s", folder)


def be_probed() -> None:
    """Do nothing for a moment: the doctor checks that it ran, and that its sender can see it."""
    here = run.current_run.get()
    if here is not None:
        witness.testify(here.job_id)
    time.sleep(_WHILE)
