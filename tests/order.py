"""The order of the files: those that wait for servers and browsers first, so that short ones fill what is left.

Each process of a parallel run takes the next file when it has none: a long one at the end would leave the others idle.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the long files to the front, each group in the order it had."""
    long = {item.path for item in items if item.get_closest_marker("browser") or item.get_closest_marker("redis")}
    items.sort(key=lambda item: item.path not in long)
