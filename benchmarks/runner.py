"""`python -m benchmarks [--quick] [family …]`: measures, prints the table, writes `benchmarks/results/`."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import client, idle, jobs, polling, push, report, task
from benchmarks.rows import Family, Row, Scale
from benchmarks.world import World

FAMILIES: dict[str, Family] = {
    "task": task.rows,
    "push": push.rows,
    "jobs": jobs.rows,
    "idle": idle.rows,
    "polling": polling.rows,
    "client": client.rows,
}
FULL, QUICK = Scale(rounds=3, share=1), Scale(rounds=1, share=0.05)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="small counts, for daily use; nothing is written")
    parser.add_argument("families", nargs="*", metavar="family", help=f"some of {', '.join(FAMILIES)}; default: all")
    options = parser.parse_args()
    unknown = set(options.families) - set(FAMILIES)
    if unknown:
        parser.error(f"no such family: {', '.join(sorted(unknown))}")
    scale = QUICK if options.quick else FULL
    about = report.conditions(scale)
    rows: list[Row] = []
    with World() as world:
        for name in options.families or FAMILIES:
            begin = time.monotonic()
            for row in FAMILIES[name](world, scale):
                rows.append(row)
                _say(report.line(row))
            _say(f"{name}: {time.monotonic() - begin:.0f} s")
    sys.stdout.write(report.table(rows) + "\n")
    if scale.is_full and not options.families:
        report.write(rows, about)
        _say(f"written into {report.RESULTS} and {report.PAGE}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
