"""The results: a table for the terminal and the documents, JSON for whoever calculates, an SVG to look at."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib.metadata import version
from pathlib import Path

from benchmarks.capacity import capacity
from benchmarks.rows import OURS, Row, Scale

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PACKAGES = (
    "Django", "channels", "channels-redis", "redis", "uvicorn", "websockets", "daphne", "celery", "celery-progress",
    "tqdm",
)  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | unit | ours | others | bound | reached |", "| --- | --- | ---: | --- | --- | --- |"]
    return "\n".join([*lines, *map(line, rows)])


def line(row: Row) -> str:
    """One of its lines."""
    others = ", ".join(f"{name} {short(figure)}" for name, figure in row.figures.items() if name != OURS)
    bounds = ", ".join(map(str, row.bounds))
    verdict = {True: "yes", False: "**no**", None: ""}[row.is_reached]
    return f"| {row.what} | {row.unit} | {short(row.figures[OURS])} | {others} | {bounds} | {verdict} |"


def short(figure: float) -> str:
    """Three digits, which is more than a benchmark can tell."""
    if figure == 0 or not math.isfinite(figure):
        return f"{figure:g}"
    return f"{round(figure, 2 - math.floor(math.log10(abs(figure)))):,.10g}"


def conditions(scale: Scale) -> dict[str, object]:
    """What the figures were taken with and on."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": scale.rounds,
        "share": scale.share,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def write(rows: Sequence[Row], about: dict[str, object], folder: Path = RESULTS, page: Path = PAGE) -> None:
    """Write the JSON and the plot, and the tables into the page that explains them."""
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(as_json(rows, conditions=about))
    (folder / "results.svg").write_text(plot(rows))
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in about.items())
    text = _filled(page.read_text(), "figures", f"{table(rows)}\n\nTaken with: {told}.")
    page.write_text(_filled(text, "capacity", capacity(rows)))


def as_json(rows: Sequence[Row], **more: object) -> str:
    """The rows and what else is told, as text."""
    told = [{**asdict(row), "is_reached": row.is_reached} for row in rows]
    return json.dumps({**more, "rows": told}, indent=1) + "\n"


def _filled(text: str, name: str, content: str) -> str:
    """The page with the content between the marks of that name."""
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    assert begin
    assert end
    return f"{before}{begin}\n{content}\n\n{end}{after}"


# The plot: a panel per row, a bar per system

WIDTH, BAR, GAP, LABEL = 860, 16, 26, 150


def plot(rows: Sequence[Row]) -> str:
    """Every row that compares, as horizontal bars, each row on its own scale."""
    compared = [row for row in rows if len(row.figures) > 1]
    height = sum(BAR * len(row.figures) + GAP + 10 for row in compared) + 10
    parts, top = [], 10
    for row in compared:
        parts.append(_panel(row, top))
        top += BAR * len(row.figures) + GAP + 10
    style = (
        "text{font:12px system-ui,sans-serif;fill:#333}.what{font-weight:600}rect{fill:#b9c3cf}rect.ours{fill:#2f6fde}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}rect{fill:#5b6673}rect.ours{fill:#6ea0ff}}"
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>Benchmarks: ours beside others</title>\n<style>{style}</style>\n{body}\n</svg>\n"
    )


def _panel(row: Row, top: int) -> str:
    longest = max(row.figures.values()) or 1
    lines = [f'<text class="what" x="10" y="{top + 14}">{escape(f"{row.what} ({row.unit})")}</text>']
    for number, (name, figure) in enumerate(row.figures.items()):
        y = top + GAP - 4 + number * BAR
        width = max((WIDTH - LABEL - 100) * figure / longest, 1)
        kind = ' class="ours"' if name.startswith(OURS) else ""
        lines += [
            f'<text x="10" y="{y + 11}">{escape(name)}</text>',
            f'<rect{kind} x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR - 4}"/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{y + 11}">{short(figure)}</text>',
        ]
    return "\n".join(lines)
