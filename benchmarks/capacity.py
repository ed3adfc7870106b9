"""How many viewers and jobs: arithmetic on measured rows, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.rows import OURS, Row

MILLION, MINUTE = 1_000_000, 60
SHARE = 0.5
"""How much of a core is planned for: the other half is for the minutes in which everything happens at once."""
POLLS = 2.0
"""Requests a second of a page that polls."""


def capacity(rows: Sequence[Row]) -> str:
    """A table in Markdown: what was measured, per unit, and what that makes for a million viewers."""
    of = {row.what: row.figures[OURS] for row in rows}
    lines = [
        "| one … | holds, measured | for a million viewers, extrapolated |",
        "| --- | --- | --- |",
        *_lines(of),
    ]
    return "\n".join(lines)


def _lines(of: Mapping[str, float]) -> list[str]:
    each = of["memory per idle socket"]
    resting = 5000 / max(of["5,000 idle sockets, each on a job of its own"], 0.1) * 100 * SHARE
    opened = of["opening 5,000 sockets, each on a job of its own"] * SHARE
    documents = of["documents/s to 200 watchers"] * SHARE
    requests = of["verify requests/s, one process"] * SHARE
    changes = 2000 / (of["the start of a task, Redis store"] + of["the end of a task, Redis store"]) * SHARE
    rows = [
        ("GiB of a web server", f"{2**30 / each:,.0f} sockets", f"{MILLION * each / 2**30:,.0f} GiB"),
        ("half a core, nothing changing", f"{resting:,.0f} sockets", _halves(MILLION / resting)),
        (
            "half a core, sockets coming back",
            f"{opened:,.0f} sockets/s",
            f"{_halves(MILLION / opened / MINUTE)}, within a minute",
        ),
        (
            "half a core, all jobs changing",
            f"{documents:,.0f} documents/s",
            f"{_halves(MILLION / documents)}, at one a second",
        ),
        ("half a core, polling", f"{requests / POLLS:,.0f} pages", _halves(MILLION * POLLS / requests)),
        ("half a core of a worker", f"{changes:,.0f} changes/s", f"{_halves(MILLION / changes)}, at one a second"),
    ]
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _halves(number: float) -> str:
    return f"{number:,.0f} half cores"
