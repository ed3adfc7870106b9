"""Keeps what each run of the suite has found in `build/queues`, for `tests.queues.suite.table`."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import django
import pytest

from immortus_channels.testing.queues.cases import Cases
from immortus_channels.testing.queues.driver import Driver
from tests.queues.suite import choose

RUNS = Path(__file__).parents[3] / "build" / "queues"
CASE = "case of a queue"
QUICK = {
    *("test_returns", "test_raises", "test_retried_then_finished", "test_cancelled_while_waiting"),
    *("test_rolled_back", "test_killed"),
}
"""The cases that `make test` runs, of classes that ask for it (`is_quick`)."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes minutes: `queues` is run by `make queues` and, as far as a change asks for it, in CI."""
    for item in items:
        kind = getattr(item, "cls", None)
        if kind is None or not issubclass(kind, Cases):
            continue
        if not (getattr(kind, "is_quick", False) and getattr(item, "originalname", "") in QUICK):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.queues)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Let the report name its queue, as the process that collects reports has no items."""
    report = yield
    kind = getattr(item, "cls", None)
    case = getattr(item, "originalname", "")
    if kind is not None and issubclass(kind, Cases) and case in vars(Cases):
        packages = _versions(kind.driver) if call.when == "call" and report.passed else {}
        run = f"{item.module.__name__.rpartition('.')[2]}.{kind.__name__}"  # type: ignore[attr-defined]
        about = {"run": run, "queue": kind.driver.name, "title": kind.__doc__, "packages": packages}
        report.user_properties.append((CASE, {**about, "case": case}))
    return report


def _versions(driver: type[Driver]) -> dict[str, str]:
    """Return the releases of those of its packages that are installed: the backport of django.tasks is not always."""
    versions = {}
    for name in driver.packages:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Add this run to those before."""
    pair = f"{'.'.join(platform.python_version_tuple()[:2])} / {'.'.join(map(str, django.VERSION[:2]))}"
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, about in getattr(report, "user_properties", ()):
                if name == CASE:
                    _note(about, pair, "passed" if outcome == "passed" else _reason(report, outcome))


def _reason(report: Any, outcome: str) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ") if outcome == "skipped" else "failed"


def _note(about: dict[str, Any], pair: str, result: str) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    path = RUNS / f"{about['run']}.json"
    run = json.loads(path.read_text()) if path.exists() else {"packages": {}, "cases": {}}
    run |= {"queue": about["queue"], "title": about["title"], "of": choose.digests(about["run"].partition(".")[0])}
    if about["packages"]:
        run["packages"][pair] = about["packages"]
    run["cases"].setdefault(about["case"], {})[pair] = result
    path.write_text(json.dumps(run, indent=1, sort_keys=True) + "\n")
