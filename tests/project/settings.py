"""A small real site for tests that run it in processes of its own; what differs comes by environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

VAR = Path(os.environ.get("PROJECT_VAR", "/nonexistent"))
SECRET_KEY = "a key for tests only"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
DEBUG = False
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "immortus_channels",
    "tests.project.shop",
    "tests.seeds.image",
    "tests.seeds.documentation",
    "tests.seeds.races",
    "tests.seeds.school",
]
MIDDLEWARE = [
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "immortus_channels.middleware.JobOwnerMiddleware",
    "tests.project.policy.content_security_policy",
]
ROOT_URLCONF = "tests.project.urls"
ASGI_APPLICATION = "tests.project.asgi.application"
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR / "db.sqlite3",
        "OPTIONS": {"timeout": 10, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
if "POSTGRES" in os.environ:
    DATABASES["default"] = {"ENGINE": "django.db.backends.postgresql", **json.loads(os.environ["POSTGRES"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if "LAYER" in os.environ:
    CHANNEL_LAYERS = {"default": json.loads(os.environ["LAYER"])}
if "STORE" in os.environ:
    IMMORTUS_STORE = json.loads(os.environ["STORE"])
globals().update(json.loads(os.environ.get("SETTINGS", "{}")))

CELERY_BROKER_URL = os.environ.get("BROKER_URL", "filesystem://")
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {
        "data_folder_in": str(VAR / "broker"),
        "data_folder_out": str(VAR / "broker"),
        "control_folder": str(VAR / "control"),
    }
    if CELERY_BROKER_URL.startswith("filesystem")
    else {}
)
CELERY_TASK_IGNORE_RESULT = "RESULT_BACKEND" not in os.environ
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_BACKEND = os.environ.get("RESULT_BACKEND", "disabled://")
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
