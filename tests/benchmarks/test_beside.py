from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.beside import AGAIN, BUILDS, OTHER, ROUNDS, THIS, Figures, environ_of, in_turn, ratio, table

QUICK, SLOW = ("a write", "ms"), ("a read", "ms")


def turns(this: Figures, other: Figures, again: Figures) -> dict[str, list[Figures]]:
    return {THIS: [this] * ROUNDS, OTHER: [other] * ROUNDS, AGAIN: [again] * ROUNDS}


def test_a_turn_imports_its_own_package_and_the_benchmarks_of_this_build(tmp_path: Path) -> None:
    package = tmp_path / "immortus_channels"
    package.mkdir()
    (package / "__init__.py").touch()
    told = subprocess.run(
        [sys.executable, "-c", "import immortus_channels, benchmarks; print(immortus_channels.__file__)"],
        env=environ_of(tmp_path),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str(package / "__init__.py")


def test_each_build_takes_each_place_in_a_round() -> None:
    orders = [in_turn(number) for number in range(len(BUILDS))]
    assert all({order[place] for order in orders} == set(BUILDS) for place in range(len(BUILDS)))


def test_ratios_are_of_figures_of_one_round() -> None:
    told = ratio([1, 4, 9], [2, 2, 3])
    assert (told.median, told.least, told.most) == (2, 0.5, 3)
    assert str(told) == "2 (0.5 to 3)"


def test_what_never_happened_in_either_build_is_the_same() -> None:
    assert ratio([0], [0]).median == 1
    assert ratio([1], [0]).median == float("inf")


def test_a_line_tells_both_builds_their_ratio_and_what_the_machine_does() -> None:
    lines = list(table(turns({QUICK: 3.0}, {QUICK: 2.0}, {QUICK: 2.5}), "v1"))
    assert lines[2] == "| a write | ms | 3 | 2 | 1.5 (1.5 to 1.5) | 1.25 (1.25 to 1.25) |"


def test_a_row_that_the_other_build_cannot_give_is_said_and_not_compared() -> None:
    lines = list(table(turns({QUICK: 3.0, SLOW: 1.0}, {QUICK: 3.0}, {QUICK: 3.0}), "v1"))
    assert "| a read | ms | not measured in every turn | | | |" in lines
