"""The project of the other tests, with what the soak adds; `BESIDE` makes it one of celery-progress."""

from __future__ import annotations

import os

from tests.project.settings import *  # noqa: F403

INSTALLED_APPS += ["tests.soak"]  # noqa: F405
if "BESIDE" in os.environ:
    INSTALLED_APPS += ["celery_progress.websockets"]
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 30}
"""Messages that a killed worker had taken and not begun are delivered again after so many seconds."""
