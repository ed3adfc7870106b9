"""The settings of a project that uses seven queues; the servers come by environment."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from typing import Any

SECRET_KEY = "for these tests only"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
REDIS = os.environ.get("TOGETHER_REDIS", "redis://127.0.0.1:1/0")
DATABASES: dict[str, Any] = {"default": json.loads(os.environ.get("TOGETHER_POSTGRES", "{}"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "daphne",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    *([] if find_spec("django.tasks") else ["django_tasks"]),
    "django_tasks_db",
    "django_rq",
    "django_q",
    "django_dramatiq",
    "huey.contrib.djhuey",
    "procrastinate.contrib.django",
    "immortus_channels",
    "tests.together",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "immortus_channels.middleware.JobOwnerMiddleware",
]
ROOT_URLCONF = "tests.together.urls"
ASGI_APPLICATION = "tests.together.asgi.application"
STATIC_URL = "static/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS]}}}

CELERY_BROKER_URL = CELERY_RESULT_BACKEND = REDIS
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
RQ_QUEUES = {"default": {"URL": REDIS}}
RQ = {"COMMIT_MODE": "auto"}
HUEY = {"name": "together", "huey_class": "huey.RedisHuey", "url": REDIS, "immediate": False}
Q_CLUSTER = {
    "name": "together",
    "redis": REDIS,
    "workers": 2,
    "poll": 0.05,
    "guard_cycle": 0.1,
    "timeout": 60,
    "retry": 90,
}
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": REDIS},
    "MIDDLEWARE": [
        "dramatiq.middleware.AgeLimit",
        "dramatiq.middleware.TimeLimit",
        "dramatiq.middleware.Callbacks",
        "dramatiq.middleware.Pipelines",
        "dramatiq.middleware.Retries",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
    ],
}
