"""The project's app, which has the tasks in every process."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class QueuesConfig(AppConfig):
    """Declares the tasks once Django is ready."""

    name = "benchmarks.site.queues"
    label = "benchmarked_queues"

    def ready(self) -> None:
        """Import them."""
        import_module("benchmarks.site.queues.tasks")
