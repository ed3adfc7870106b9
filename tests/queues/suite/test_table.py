"""The page of the queues shows what the last runs have found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.queues.suite import table

RUN = {
    "queue": "huey",
    "title": "Threads, on SQLite.",
    "packages": {"3.13 / 6.1": {"huey": "3.5.4"}},
    "cases": {case: {"3.13 / 6.1": "passed"} for case in table.cases()},
}


def classes() -> list[str]:
    """The names of the classes that run the cases, one for each driver, as their files have them."""
    files = Path(__file__).parent.glob("test_*.py")
    return [f"{file.stem}.{name}" for file in files for name in re.findall(r"(?m)^class (Test\w+)\(", file.read_text())]


def test_the_page_shows_the_runs_that_are_kept():
    page = table.PAGE.read_text()
    assert table.render(table.kept()) in page
    assert table.written(page, table.kept()) == page


def test_each_run_that_is_kept_is_of_a_driver():
    assert {file.stem for file in table.KEPT.glob("*.json")} <= {*classes()}


@pytest.mark.parametrize("run", table.kept(), ids=lambda run: run["title"])
def test_each_case_was_run_or_has_a_reason(run):
    assert sorted(run["cases"]) == sorted(table.cases())
    assert all(results.keys() == run["packages"].keys() for results in run["cases"].values())
    assert all("failed" not in results.values() for results in run["cases"].values())


def test_a_case_that_failed_with_one_pair_has_no_mark():
    run = {**RUN, "cases": {**RUN["cases"], "test_killed": {"3.13 / 6.1": "passed", "3.11 / 5.2": "failed"}}}
    assert f"| killed | {table.FAILED} |" in table.render([run])


def test_a_case_that_was_run_with_one_pair_alone_has_no_mark():
    run = {**RUN, "packages": {**RUN["packages"], "3.11 / 5.2": {"huey": "3.5.4"}}}
    assert table.PASSED not in table.render([run])


def test_a_run_with_another_pair_stands_beside_the_kept_one():
    other = {case: {"3.11 / 5.2": "passed"} for case in table.cases()}
    new = {**RUN, "packages": {"3.11 / 5.2": {"huey": "3.5.3"}}, "cases": other}
    rendered = table.render([table.joined(RUN, new)])
    assert f"| killed | {table.PASSED} |" in rendered
    assert "| 3.11 / 5.2 | huey 3.5.3 |" in rendered
    assert "| 3.13 / 6.1 | huey 3.5.4 |" in rendered


def test_what_was_run_again_takes_the_place_of_what_was_kept():
    new = {**RUN, "cases": {"test_killed": {"3.13 / 6.1": "failed"}, "test_of_old": {"3.13 / 6.1": "failed"}}}
    found = table.joined(RUN, new)["cases"]
    assert (found["test_killed"], found["test_returns"]) == ({"3.13 / 6.1": "failed"}, {"3.13 / 6.1": "passed"})
    assert "test_of_old" not in found


def test_a_case_that_cannot_be_has_its_reason():
    run = {**RUN, "cases": {**RUN["cases"], "test_killed": {"3.13 / 6.1": "It has no worker."}}}
    rendered = table.render([run])
    assert f"| killed | {table.CANNOT} |" in rendered
    assert "- huey, killed: It has no worker." in rendered
    rendered = table.render([run, {**RUN, "title": "Threads, on Redis."}])
    assert "- huey: Threads, on SQLite, killed: It has no worker." in rendered


def test_a_case_that_was_not_run_has_no_mark():
    run = {**RUN, "cases": {}}
    assert table.PASSED not in table.render([run])
