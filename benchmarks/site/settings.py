"""Settings; what differs between measurements comes by environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

REDIS = os.environ["BENCH_REDIS"]
SECRET_KEY = "for benchmarks only"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "immortus_channels",
]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "immortus_channels.middleware.JobOwnerMiddleware",
]
if os.environ.get("BENCH_PACKAGE"):
    INSTALLED_APPS.remove("immortus_channels")
    MIDDLEWARE.remove("immortus_channels.middleware.JobOwnerMiddleware")
ROOT_URLCONF = "benchmarks.site.urls"
ASGI_APPLICATION = "benchmarks.site.asgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["BENCH_VAR"]) / "db.sqlite3",
        "OPTIONS": {"timeout": 10, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
if "BENCH_DATABASE" in os.environ:
    DATABASES["default"] = json.loads(os.environ["BENCH_DATABASE"])

LAYERS = {
    "pubsub": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS, "socket_connect_timeout": 1, "socket_timeout": 1}]},
    },
    # With room for a burst, and a timeout that redis-py 8 does not end idle sockets by.
    "core": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS, "socket_timeout": 15}], "capacity": 10_000},
    },
}
_layer = os.environ.get("BENCH_LAYER", "pubsub")
CHANNEL_LAYERS = {"default": LAYERS[_layer]} if _layer in LAYERS else {}

IMMORTUS_STORE = json.loads(os.environ.get("BENCH_STORE", '{"BACKEND": "database"}'))
# Jobs are changed by hand here: no worker renews their leases.
IMMORTUS_STALLED_AFTER = 3600
IMMORTUS_LOST_AFTER = 7200
# All watchers are one user here.
_ENOUGH = 1_000_000
IMMORTUS_LIMITS = dict.fromkeys(("sockets_per_user", "sockets", "requests_per_second", "requests_at_once"), _ENOUGH)

CELERY_BROKER_URL = REDIS
CELERY_RESULT_BACKEND = REDIS
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
