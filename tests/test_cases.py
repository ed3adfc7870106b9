"""Each acceptance case has its tests, and the page that lists the cases names their files."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.pages_of_docs import ROOT, Page

CASES = range(1, 56)
PAGE = Page(ROOT / "tests" / "cases.md")
MARKS = {
    "test_*.py": re.compile(r"pytest\.mark\.case\(([\d, ]+)\)(?=\n(?:@|def test_|async def test_)|[\],])"),
    "*.test.js": re.compile(r"""^\s*test\(["`].*\(cases? ([\d, ]+)\)["`]""", re.MULTILINE),
}
"""How the tests of each language say which cases they show: a mark, and words in the title."""


def cases_of(file: Path, mark: re.Pattern[str]) -> set[int]:
    return {int(number) for numbers in mark.findall(file.read_text()) for number in numbers.split(",")}


@cache
def files_by_case() -> dict[int, set[str]]:
    found: dict[int, set[str]] = {number: set() for number in CASES}
    for pattern, mark in MARKS.items():
        for file in (ROOT / "tests").rglob(pattern):
            for number in cases_of(file, mark):
                found[number].add(file.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize("number", CASES)
def test_each_case_has_a_test(number):
    assert files_by_case()[number]


def test_the_page_lists_every_case_in_order_with_the_files_of_its_tests():
    told = {int(number): re.findall(r"`(tests/[^`]+)`", tested) for number, what, tested in PAGE.rows if what}
    assert list(told) == list(CASES)
    assert told == {number: sorted(files) for number, files in files_by_case().items()}


def test_no_mark_stands_where_this_test_does_not_look():
    for file in (ROOT / "tests").rglob("*.py"):
        everywhere = re.findall(r"mark\.case\(", file.read_text())
        assert len(everywhere) == len(MARKS["test_*.py"].findall(file.read_text())) or file == Path(__file__)
