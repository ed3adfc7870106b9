"""Namespaces of django-tenants: each is named like a tenant's schema, but the public schema's is ""."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import connections
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django_tenants.middleware.main import TenantMainMiddleware
from django_tenants.utils import (
    get_public_schema_name,
    get_tenant_database_alias,
    get_tenant_domain_model,
    get_tenant_model,
    get_tenant_types,
    has_multi_type_tenants,
    schema_context,
)

from immortus_channels.handshake import request_of
from immortus_channels.keys import key_of


def namespace_of(source: HttpRequest | Mapping[str, Any] | None) -> str:
    """Return the namespace of a request, of a socket by the domain in its Host, or of this thread's connection.

    Raises ObjectDoesNotExist for a socket to a domain of no tenant.
    """
    if isinstance(source, Mapping):
        return named(_schema_for(source))
    tenant = getattr(source, "tenant", None)
    return named(_connection().schema_name if tenant is None else tenant.schema_name)


def schema_of(namespace: str) -> AbstractContextManager[None]:
    """Have the connection of this thread use the schema of the namespace in the block."""
    schema = namespace or get_public_schema_name()
    return nullcontext() if _connection().schema_name == schema else schema_context(schema)


def is_of_each(app_label: str) -> bool:
    """Return whether each tenant has tables of this app in its own schema."""
    app = apps.get_app_config(app_label)
    names = {app.name, f"{type(app).__module__}.{type(app).__qualname__}"}
    public = get_public_schema_name()
    types = get_tenant_types() if has_multi_type_tenants() else {"": {"APPS": getattr(settings, "TENANT_APPS", ())}}
    return any(names & set(each["APPS"]) for name, each in types.items() if name != public)


def keys_of_shared(name: str) -> list[str]:
    """Return the keys that a user whom all tenants share may own jobs by: one in each namespace."""
    with schema_of(""):
        schemas = get_tenant_model().objects.values_list("schema_name", flat=True)
        return list(dict.fromkeys([name, *(key_of(named(schema), name) for schema in schemas)]))


def _connection() -> Any:
    return connections[get_tenant_database_alias()]


def named(schema: str) -> str:
    """Return the namespace of a schema."""
    return "" if schema == get_public_schema_name() else schema


def _schema_for(scope: Mapping[str, Any]) -> str:
    """Return the schema that the project's own middleware would choose for a request of this host."""
    middleware = _middleware()(lambda _: None)
    host, domains = middleware.hostname_from_request(request_of(scope)), get_tenant_domain_model()
    with schema_of(""):
        try:
            schema: str = middleware.get_tenant(domains, host).schema_name
        except ObjectDoesNotExist:
            if not getattr(settings, "SHOW_PUBLIC_IF_NO_TENANT_FOUND", False):
                raise
            schema = get_public_schema_name()
    return schema


@cache
def _middleware() -> Any:
    found = (import_string(path) for path in settings.MIDDLEWARE)
    is_theirs = (each for each in found if isinstance(each, type) and issubclass(each, TenantMainMiddleware))
    return next(is_theirs, TenantMainMiddleware)
