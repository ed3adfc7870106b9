"""Common mistakes, found by `manage.py check`, each with what to do about it.

Nothing here connects to anything, and each queue's adapter checks what concerns that queue alone.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from django.core.checks import CheckMessage

from immortus_channels import queues
from immortus_channels.checks.finding import mask
from immortus_channels.checks.https import check_proxy_header
from immortus_channels.checks.layers import check_layer
from immortus_channels.checks.named import (
    check_access,
    check_handlers,
    check_marks,
    check_names_in_handlers,
    check_namespace,
    check_strategies,
)
from immortus_channels.checks.project import check_middleware, check_urls
from immortus_channels.checks.releases import check_adapters, check_daphne, check_versions
from immortus_channels.checks.sockets import check_hosts, check_runserver, check_socket
from immortus_channels.checks.stores import check_failover, check_store
from immortus_channels.checks.values import check_limits, check_values
from immortus_channels.conf import settings


def check_deployment() -> list[CheckMessage]:
    """Return what `check --deploy` finds in addition."""
    return list(check_proxy_header())


def check_all() -> list[CheckMessage]:
    """Return everything that is wrong with how this project uses the package."""
    if find_spec("celery") is not None:  # its adapter is connected by now, or by this
        import_module("celery.app")
    # The URLs first: they import the views, and the views the tasks.
    checks = (
        check_values,
        check_urls,
        check_strategies,
        check_handlers,
        check_names_in_handlers,
        check_marks,
        check_store,
        check_failover,
        check_access,
        check_namespace,
        check_layer,
        check_middleware,
        check_limits,
        check_versions,
        check_adapters,
    )
    sockets = (check_socket, check_runserver, check_daphne, check_hosts) if settings.WEBSOCKET else ()
    found = [message for check in (*checks, *sockets) for message in check()]
    return [_mask_message(one) for one in (*found, *(one for queue in queues.connected for one in queue.problems()))]


def _mask_message(message: CheckMessage) -> CheckMessage:
    """Mask passwords in a message: findings go into logs, with quotations of settings and of errors."""
    message.msg = mask(message.msg)
    message.hint = message.hint and mask(message.hint)
    return message
