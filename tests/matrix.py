"""The fault matrix: tests marked with `fault("A1")` are the row A1 of docs/reliability.md.

`make faults` runs them all and ends with a mark for each row in each configuration. A test that shows what happens
without the mechanism of a row is `fault("A1", twin=True)`. What takes minutes is also marked `soak`, and left out
unless asked for.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.pages_of_docs import ROOT, page

Mark: TypeAlias = "tuple[str, str]"

MARKS = {"passed": "✓", "failed": "✗", "skipped": "-", "later": "·"}


class Matrix:
    """Leaves out what takes minutes, and tells in the end how each row fared."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._outcomes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what takes minutes."""
        if re.search(r"(?<!not )\bsoak\b", self._wanted):
            return
        later = [item for item in items if item.get_closest_marker("soak")]
        marks = [mark for item in later for mark in marks_of(item)]
        self._note(marks, "later")
        getattr(config, "workeroutput", {})["later"] = marks
        if later:
            items[:] = [item for item in items if item not in later]
            config.hook.pytest_deselected(items=later)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Let the report of a marked test say what it is about, also in another process."""
        report = yield
        report.user_properties += [("fault", mark) for mark in marks_of(item)]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write down what became of a marked test."""
        if report.when == "call" or report.outcome != "passed":
            self._note((mark for name, mark in report.user_properties if name == "fault"), report.outcome)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Write down what a process has left out."""
        self._note(getattr(node, "workeroutput", {}).get("later", []), "later")

    def _note(self, marks: Iterable[Mark], outcome: str) -> None:
        for row, where in marks:
            self._outcomes[row][where].add(outcome)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the matrix, when rows were asked for."""
        if not self._outcomes or not re.search("fault|soak", self._wanted):
            return
        terminalreporter.section(f"fault matrix ({versions()})")
        faults = {row[0]: row[1] for row in rows()}
        for row in sorted(self._outcomes, key=in_order):
            fared = "  ".join(f"{MARKS[worst(found)]} {where}" for where, found in self._outcomes[row].items())
            fault = textwrap.shorten(faults.get(row, ""), 60, placeholder=" …")
            terminalreporter.write_line(f"{row:<4}{fault:<60}  {fared}")
        terminalreporter.write_line("✓ as promised  ✗ broken  - skipped  · only in `make soak`")
        terminalreporter.write_line("without: with the mechanism switched off it goes wrong, as it must")


def marks_of(item: pytest.Item) -> list[Mark]:
    """The rows that a test belongs to, and in which configuration it tries them."""
    parameters = getattr(item, "callspec", None)
    as_it_is = parameters.id if parameters else "as it is"
    return [
        (marker.args[0], "without" if marker.kwargs.get("twin") else as_it_is) for marker in item.iter_markers("fault")
    ]


def worst(outcomes: set[str]) -> str:
    """The outcome that counts for several tests."""
    return next(outcome for outcome in ("failed", "passed", "skipped", "later") if outcome in outcomes)


def in_order(row: str) -> tuple[str, int, str]:
    """A2 before A10."""
    letters, number, rest = re.fullmatch(r"([A-Z]+)(\d+)(.*)", row).groups()  # type: ignore[union-attr]
    return letters, int(number), rest


def versions() -> str:
    import channels_redis  # noqa: PLC0415 - only for the head line
    import redis  # noqa: PLC0415

    return f"channels_redis {channels_redis.__version__}, redis-py {redis.__version__}"


def rows() -> Iterator[list[str]]:
    """The rows of docs/reliability.md: id, fault, promise, test files."""
    return (row for row in page("reliability.md").rows if re.fullmatch(r"[A-Z]+\d+[a-z]?", row[0]))


def marked() -> dict[str, set[str]]:
    """The files of this repository's tests that have something marked with a row's id, by id."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted((ROOT / "tests").rglob("*")):
        for row in marks_in(file):
            found[row].add(file.relative_to(ROOT).as_posix())
    return found


def marks_in(file: Path) -> set[str]:
    """Rows that a file is about: `pytest.mark.fault("A1")` in Python, `(fault A1)` in a test's name in JavaScript."""
    if file.name.endswith((".test.js", ".test.mjs")):
        return {row for names in re.findall(r"\(fault ([^)]+)\)", file.read_text()) for row in names.split(", ")}
    if not re.fullmatch(r"test_\w+\.py", file.name):
        return set()
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        and ast.unparse(node.func) in ("pytest.mark.fault", "fault")
    }  # fmt: skip
