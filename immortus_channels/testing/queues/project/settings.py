"""Settings of the suite's project, and those that the queue's driver needs."""

from __future__ import annotations

import os
from pathlib import Path

from django.utils.module_loading import import_string

DRIVER = import_string(os.environ["IMMORTUS_SUITE_DRIVER"])()
FOLDER = Path(os.environ["IMMORTUS_SUITE_FOLDER"])

SECRET_KEY = "of-the-suite"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "immortus_channels.testing.queues.project.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    *DRIVER.apps,
    "immortus_channels",
    "immortus_channels.testing.queues.project",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CHANNEL_LAYERS: dict[str, object] = {}
IMMORTUS_STORE = {"BACKEND": "immortus_channels.testing.queues.project.store.TellingStore"}
IMMORTUS_STALLED_AFTER = 4
IMMORTUS_LOST_AFTER = 8
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": FOLDER / "log"}},
    "loggers": {"immortus_channels": {"handlers": ["file"], "level": "DEBUG"}},
}

globals().update(DRIVER.settings())
