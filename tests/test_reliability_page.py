"""What docs/reliability.md promises has its test, and every test of a fault stands there."""

from __future__ import annotations

import re

import pytest

from tests.matrix import in_order, marked, rows
from tests.pages_of_docs import ROOT, page

PAGE = page("reliability.md")


def files_of(row: list[str]) -> set[str]:
    return set(re.findall(r"`(tests/[^`]+)`", row[-1]))


def test_each_row_is_there_once_and_no_cell_is_empty():
    ids = [row[0] for row in rows()]
    assert len(ids) == len(set(ids))
    assert [row for row in rows() if len(row) != 4 or not all(row)] == []


def test_within_a_table_rows_are_in_order():
    ids = [row[0] for row in rows()]
    for letter in {row[0] for row in ids}:
        ours = [row for row in ids if row[0] == letter]
        assert ours == sorted(ours, key=in_order)


def test_each_row_names_exactly_the_files_that_test_it():
    assert {row[0]: files_of(row) for row in rows()} == marked()


INVARIANTS = [row for row in PAGE.rows if row[0].startswith("**")]


def test_there_are_eight_invariants():
    assert [row[0].strip("*") for row in INVARIANTS] == [
        *("Truth", "Monotonic", "Terminal once", "Converge", "Isolation", "Bounded", "Harmless", "Quiet")
    ]


@pytest.mark.parametrize("row", INVARIANTS, ids=lambda row: row[0].strip("*"))
def test_each_invariant_names_tests_that_exist(row):
    assert files_of(row)
    assert [name for name in files_of(row) if not (ROOT / name).is_file()] == []
