"""The settings of the project with tenants; what differs comes by environment, as in `tests.project`."""

from __future__ import annotations

import json
import os

from tests.project.settings import *  # noqa: F403

SHARED_APPS = [
    "django_tenants",
    "tests.tenants.customers",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.admin",
    "django.contrib.messages",
    "immortus_channels",
]
TENANT_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.admin",
    "django.contrib.messages",
    "tests.tenants.shop",
]
if "APP_PER_TENANT" in os.environ:
    SHARED_APPS.remove("immortus_channels")
    TENANT_APPS.append("immortus_channels")
INSTALLED_APPS = [*SHARED_APPS, *(app for app in TENANT_APPS if app not in SHARED_APPS)]
MIDDLEWARE = [
    "django_tenants.middleware.main.TenantMainMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "immortus_channels.middleware.JobOwnerMiddleware",
]
ROOT_URLCONF = "tests.tenants.urls"
ASGI_APPLICATION = "tests.tenants.asgi.application"
ALLOWED_HOSTS = [".localhost", "127.0.0.1"]
DATABASES = {
    "default": {**json.loads(os.environ.get("POSTGRES", "{}")), "ENGINE": "django_tenants.postgresql_backend"},
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
