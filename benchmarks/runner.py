"""`python -m benchmarks [--quick] [family …]`: measures, prints the table, writes `benchmarks/results/`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import client, idle, jobs, polling, push, queues, report, task, untracked
from benchmarks.rows import Family, Row, Scale
from benchmarks.world import World

FAMILIES: dict[str, Family] = {
    "task": task.rows,
    "untracked": untracked.rows,
    "queues": queues.rows,
    "push": push.rows,
    "jobs": jobs.rows,
    "idle": idle.rows,
    "polling": polling.rows,
    "client": client.rows,
}
BY_DEFAULT = tuple(name for name in FAMILIES if name != "queues")
"""Those that the tables of the page are made of; that of the queues has a table of its own."""
FULL, QUICK = Scale(rounds=3, share=1), Scale(rounds=1, share=0.05)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--json", type=Path, metavar="FILE", help="one round without peers, its rows into this file")
    add_choices(parser)
    options = parser.parse_intermixed_args()
    scale = QUICK if options.quick else FULL
    if options.json:
        rows = list(_measure(replace(scale, rounds=1, with_peers=False), options.families or BY_DEFAULT))
        options.json.write_text(report.as_json(rows))
        return
    about = report.conditions(scale)
    rows = list(_measure(scale, options.families or BY_DEFAULT))
    sys.stdout.write(report.table(rows) + "\n")
    if scale.is_full and not options.families:
        report.write(rows, about)
        _say(f"written into {report.RESULTS} and {report.PAGE}")


def add_choices(parser: argparse.ArgumentParser) -> None:
    """The options that say how much is measured."""
    parser.add_argument("--quick", action="store_true", help="small counts, for daily use; nothing is written")
    parser.add_argument(
        "families",
        nargs="*",
        metavar="family",
        type=_family,
        help=f"some of {', '.join(FAMILIES)}; default: all but the queues",
    )


def _family(name: str) -> str:
    if name not in FAMILIES:
        msg = f"no such family: {name}; there are {', '.join(FAMILIES)}"
        raise argparse.ArgumentTypeError(msg)
    return name


def _measure(scale: Scale, families: Collection[str]) -> Iterator[Row]:
    with World() as world:
        for name in families:
            begin = time.monotonic()
            for row in FAMILIES[name](world, scale):
                _say(report.line(row))
                yield row
            _say(f"{name}: {time.monotonic() - begin:.0f} s")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
