"""What the example asks of each queue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple


class Service(NamedTuple):
    """What a queue needs beside Python: the environment variable with its address, what it is, and an address."""

    variable: str
    kind: str
    address: str


class Queue(ABC):
    """One task queue. It is made before Django is set up, so only `tasks` and `send` may import of the queue."""

    name: ClassVar[str]
    """What `immortus_channels` calls it."""
    title: ClassVar[str]
    """What people call it."""
    service: ClassVar[Service | None] = None
    """What must be running already."""
    apps: ClassVar[Sequence[str]] = ()
    """Django apps that it needs."""
    worker: ClassVar[Sequence[str]]
    """What follows `python` in the command of its worker, in the folder `example`."""
    wants_login: ClassVar[str] = ""
    """Why visitors have to sign in before they start jobs; empty if they need not."""
    has_all_pages: ClassVar[bool] = False
    """Whether the marathons and the classrooms are shown, whose tasks are declared for Celery."""
    tells_when_ready: ClassVar[bool] = False
    """Whether its worker makes the file `worker.ready` once it takes jobs."""
    scenes: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """What differs in the scenes of `photos/scenes.py`, by their slugs."""
    cannot: ClassVar[Mapping[str, str]] = {}
    """The scenes that the page leaves out, each with its reason, which stands in brackets."""

    def settings(self, var: Path) -> Mapping[str, Any]:
        """Return the Django settings that it needs; files of its own may lie in the folder `var`."""
        return {}

    @property
    def tasks(self) -> ModuleType:
        """The tasks, declared as this queue's users do."""
        return import_module(f"{type(self).__module__}.tasks")

    @abstractmethod
    def send(self, task: Any, photo: str) -> Any:
        """Send a task; return what the queue's own call returned."""
