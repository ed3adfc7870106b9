"""Huey: its messages in a SQLite file, two threads that work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from queues.base import Queue


class Huey(Queue):
    """Threads of one process, as Huey has them by default."""

    name = "huey"
    title = "Huey"
    apps = ("huey.contrib.djhuey",)
    worker = ("manage.py", "run_huey", "--workers", "2", "--max-delay", "0.5", "--quiet")
    scenes: ClassVar = {
        "worker-killed": {
            "text": "Nobody is left to report, and Huey keeps no copy. Stalled after 15 seconds, lost after a minute."
        },
    }
    cannot: ClassVar = {
        "time-limit": "Huey's threads have no time limit; its processes have one",
        "child-killed": "all jobs run in the worker's one process",
    }

    def settings(self, var: Path) -> Mapping[str, Any]:
        """Return `immediate` too: with DEBUG, Huey would run each task where it is sent."""
        return {
            "HUEY": {
                "huey_class": "huey.SqliteHuey",
                "name": "example",
                "filename": str(var / "huey.sqlite3"),
                "immediate": False,
            },
        }

    def send(self, task: Any, photo: str) -> Any:
        """Return a Result."""
        return task(photo)


queue = Huey()
