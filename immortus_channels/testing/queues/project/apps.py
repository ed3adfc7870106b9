"""The suite's project can be told to break what follows its jobs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from django.apps import AppConfig

from immortus_channels.queues import deliveries, sendings


class SuiteConfig(AppConfig):
    """While a file named "broken" is in the project's folder, whatever an adapter calls raises."""

    name = "immortus_channels.testing.queues.project"
    label = "immortus_suite"

    def ready(self) -> None:
        """Stand between the port and what it does."""
        flag = Path(os.environ["IMMORTUS_SUITE_FOLDER"], "broken")
        for owner, name in ((sendings, "prepare"), (deliveries, "enter"), (deliveries, "end_elsewhere")):
            setattr(owner, name, _breakable(getattr(owner, name), flag))
        deliveries.Delivery.tell = _breakable(deliveries.Delivery.tell, flag)  # type: ignore[method-assign]


def _breakable(function: Callable[..., Any], flag: Path) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if flag.exists():
            msg = "the suite has broken this"
            raise RuntimeError(msg)
        return function(*args, **kwargs)

    return call
