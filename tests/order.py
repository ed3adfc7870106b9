"""The order of the files: those that wait for servers and browsers first, so that short ones fill what is left.

Each process of a parallel run takes the next file when it has none: a long one at the end would leave the others idle.
"""

from __future__ import annotations

from typing import Any

import pytest

SHARED = ("tests/stores/", "tests/seeds/")
"""Folders whose files one process takes together, as it starts their servers, site and browser once."""
LONGEST = ("tests/browser/test_queues.py", "tests/queues/test_celery.py", *SHARED, "tests/browser/")
"""What takes a minute or so, and begins first."""
PATIENT = ("tests/writer/", "tests/websocket/")
"""Folders that wait for time to pass."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the long files to the front, each group in the order it had."""
    served = {item.path for item in items if item.get_closest_marker("browser") or item.get_closest_marker("redis")}

    def place(item: pytest.Item) -> int:
        for at, path in enumerate(LONGEST):
            if item.nodeid.startswith(path):
                return at - len(LONGEST)
        return 0 if item.path in served else 1 if item.nodeid.startswith(PATIENT) else 2

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process a file at a time, and the files of a shared folder together."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415 - only in a parallel run

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in SHARED if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return Files(config, log)
