"""The adapter of the how-to as a project has it, and the app that a worker of chancy's is told."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig, apps

from immortus_channels.apps import connect_when_imported
from tests.pages_of_docs import ROOT, Page

PAGE = ROOT / "docs/how-to/queues.md"
TITLE = "shop/chancy_adapter.py"


def __getattr__(name: str) -> Any:
    """Return the page's adapter, which imports chancy."""
    if name != "ChancyQueue":
        raise AttributeError(name)
    (sample,) = (one.text for one in Page(PAGE).samples if one.title == TITLE)
    exec(compile(sample, TITLE, "exec"), vars(sys.modules[__name__]))
    return vars(sys.modules[__name__])[name]


class ChancyConfig(AppConfig):
    """Connects the adapter, as the page says."""

    name = "tests.queues.suite"
    label = "chancy_of_the_suite"

    def ready(self) -> None:
        """Wait for chancy."""
        connect_when_imported("chancy", f"{__name__}.ChancyQueue")


def make() -> Any:
    """Return the app."""
    import django
    from chancy import Chancy

    if not apps.ready:
        django.setup()
    from django.conf import settings
    from psycopg.conninfo import make_conninfo

    database = settings.DATABASES["default"]
    named = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    return Chancy(make_conninfo(**{name: database[key] for name, key in named.items() if database.get(key)}))
