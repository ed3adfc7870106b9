"""The drivers of the suite, where three minutes of kills need other times than its cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.queues.suite.celery import CeleryDriver
from tests.queues.suite.django_q import DjangoQDriver

REDELIVERED = 15
"""Seconds after which a queue delivers a message again that a killed worker had taken."""


class PatientCeleryDriver(CeleryDriver):
    """Takes up what a killed worker had taken and not begun."""

    pool = ()

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A task of the app, which is told so before a worker connects."""
        task = super().task(function, **options)
        from tests.queues.suite.celery_app import app  # noqa: PLC0415 - it needs the environment of the processes

        app.conf.broker_transport_options = {"visibility_timeout": REDELIVERED}
        return task


class PatientDjangoQDriver(DjangoQDriver):
    """Delivers no message again while its job may still run."""

    def settings(self) -> Mapping[str, Any]:
        """The suite's cluster."""
        cluster = {**super().settings()["Q_CLUSTER"], "retry": REDELIVERED, "timeout": REDELIVERED - 5}
        return {"Q_CLUSTER": cluster}
