"""What `make test` leaves out, so that people wait for it: the tests marked `slow`, which `make test-all` runs too."""

from __future__ import annotations

from typing import Any

import pytest


class LeftOut:
    """Counts the slow tests that `-m "not slow"` leaves out, and says so in one line at the end."""

    def __init__(self) -> None:
        self._count = 0
        self._output: dict[str, Any] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        """Remember where a worker process of xdist writes what its controller reads."""
        self._output = getattr(config, "workeroutput", {})

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count the slow ones."""
        self._count += sum(item.get_closest_marker("slow") is not None for item in items)
        self._output["slow"] = self._count

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the count of a worker process; each has collected all tests."""
        self._count = max(self._count, getattr(node, "workeroutput", {}).get("slow", 0))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Print the line."""
        if self._count and "not slow" in config.getoption("markexpr"):
            terminalreporter.write_line(f"{self._count} slow tests were left out: `make test-all` runs them too.")
