"""`python -m benchmarks.beside COMMIT [--quick] [family …]`: this build and another commit's, in turns, in one run.

Both are measured by the benchmarks of this build. In each round this build has a turn and the other has two: how far
the second of them is from the first is what the machine alone does, and no ratio below that says anything.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import report
from benchmarks.rows import OURS
from benchmarks.runner import add_choices

ROOT = Path(__file__).parent.parent
ROUNDS = 5
THIS, OTHER, AGAIN = "this build", "the other", "the other, again"
BUILDS = (THIS, OTHER, AGAIN)

Figures = Mapping[tuple[str, str], float]
"""One turn: our figure of each row, by what it measures and its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio over the rounds: its median, and the least and the most of them."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        """Read as in the table."""
        return f"{self.median:.3g} ({self.least:.3g} to {self.most:.3g})"


def main() -> None:
    """Measure both builds and print how they compare."""
    parser = argparse.ArgumentParser(prog="make bench-beside")
    parser.add_argument("commit", help="whatever git calls a commit")
    add_choices(parser)
    options = parser.parse_intermixed_args()
    folders = {THIS: ROOT, **dict.fromkeys((OTHER, AGAIN), _checked_out(options.commit))}
    chosen = ["--quick"] * options.quick + options.families
    turns: dict[str, list[Figures]] = defaultdict(list)
    for number in range(ROUNDS):
        for build in in_turn(number):
            sys.stderr.write(f"round {number + 1} of {ROUNDS}: {build}\n")
            turns[build].append(_figures(folders[build], chosen))
    sys.stdout.write("\n".join(table(turns, options.commit)) + "\n")


def in_turn(number: int) -> Sequence[str]:
    """The builds in the order of this round: each begins as often as the others."""
    first = number % len(BUILDS)
    return BUILDS[first:] + BUILDS[:first]


def _checked_out(commit: str) -> Path:
    """A folder with the package as it was at that commit."""
    name = _git("rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
    folder = ROOT / "build" / "beside" / name
    if not folder.exists():
        unpacked = folder.with_suffix(".new")
        unpacked.mkdir(parents=True, exist_ok=True)
        archive = _git("archive", name, "immortus_channels")
        subprocess.run(["tar", "-x", "-C", str(unpacked)], input=archive, check=True)
        unpacked.rename(folder)
    return folder


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr.decode()) from error


def environ_of(folder: Path) -> dict[str, str]:
    """The environment of processes that import the package from this folder, and all else from here."""
    # Without the first, Python looks for it in the directory that it is started in before all others.
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}


def _figures(folder: Path, chosen: Sequence[str]) -> Figures:
    """One turn of the build in this folder."""
    told = ROOT / "build" / "beside" / "turn.json"
    told.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks", "--json", str(told), *chosen]
    subprocess.run(command, cwd=ROOT, env=environ_of(folder), check=True)
    rows = json.loads(told.read_text())["rows"]
    return {(row["what"], row["unit"]): row["figures"][OURS] for row in rows}


def table(turns: Mapping[str, Sequence[Figures]], commit: str) -> Iterator[str]:
    """The comparison in Markdown, a line for each row that every turn has."""
    yield f"| what | unit | this build | {commit} | this build ÷ {commit} | {commit} ÷ itself |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for what, unit in turns[THIS][0]:
        of = {build: [figures.get((what, unit)) for figures in turns[build]] for build in BUILDS}
        measured = {build: [figure for figure in figures if figure is not None] for build, figures in of.items()}
        if any(len(figures) < len(turns[THIS]) for figures in measured.values()):
            yield f"| {what} | {unit} | not measured in every turn | | | |"
            continue
        here, there = (report.short(median(measured[build])) for build in (THIS, OTHER))
        ratios = (ratio(measured[THIS], measured[OTHER]), ratio(measured[AGAIN], measured[OTHER]))
        yield f"| {what} | {unit} | {here} | {there} | {' | '.join(map(str, ratios))} |"


def ratio(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """The ratios of figures that were taken in the same round."""
    each = list(map(_quotient, ours, others))
    return Ratio(median=median(each), least=min(each), most=max(each))


def _quotient(one: float, other: float) -> float:
    """One over the other; counts of what never happened are the same."""
    if one == other:
        return 1.0
    return one / other if other else math.inf


if __name__ == "__main__":
    main()
