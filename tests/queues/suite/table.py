"""The table of queues and cases, joined from the last runs: `python -m tests.queues.suite.table` writes it.

The runs are in `build/queues`; those that the page shows are kept in `runs`, beside this file.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from immortus_channels.testing.queues.cases import Cases

ROOT = Path(__file__).parents[3]
NEW = ROOT / "build" / "queues"
KEPT = Path(__file__).parent / "runs"
PAGE = ROOT / "docs" / "reference" / "queues.md"
BEGIN, END = "<!-- made from the last runs -->\n", "<!-- until here -->"
PASSED, CANNOT, FAILED = "✓", "-", "✗"

Run = Mapping[str, Any]


def cases() -> list[str]:
    """Return the names of all cases, in the order in which they stand."""
    return [name for name in vars(Cases) if name.startswith("test_")]


def kept() -> list[Run]:
    """Return the runs that the page shows."""
    return [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]


def render(runs: Sequence[Run]) -> str:
    """Return the table, its reasons, and the releases that the runs had."""
    lines = ["| case | " + " | ".join(_heading(run) for run in runs) + " |", "| --- |" + " :-: |" * len(runs)]
    lines += [f"| {_words(case)} | " + " | ".join(_mark(run, case) for run in runs) + " |" for case in cases()]
    return "\n".join([*lines, "", *_reasons(runs), "", *_releases(runs), ""])


def _heading(run: Run) -> str:
    return f"{run['queue']}: {run['title'].strip().rstrip('.')}"


def _words(case: str) -> str:
    return case.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")


def _mark(run: Run, case: str) -> str:
    results = _results(run, case)
    return PASSED if results == {"passed"} else FAILED if "failed" in results else CANNOT


def _results(run: Run, case: str) -> set[str]:
    """Return what the case came to with each pair of Python and Django."""
    pairs = {pair for found in (run["packages"], *run["cases"].values()) for pair in found}
    return {run["cases"].get(case, {}).get(pair, "not run") for pair in pairs}


def _reasons(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a line for each reason; one that all runs of a queue have is its queue's."""
    of_queue = Counter(run["queue"] for run in runs)
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        for case in cases():
            for reason in sorted(_results(run, case) - {"passed"}):
                found.setdefault((run["queue"], case, reason), []).append(run)
    for (queue, case, reason), having in found.items():
        names = [queue] if len(having) == of_queue[queue] else map(_heading, having)
        yield from (f"- {name}, {_words(case)}: {reason}" for name in names)


def _releases(runs: Sequence[Run]) -> Iterator[str]:
    yield "| queue | Python / Django | run with |"
    yield "| --- | --- | --- |"
    for run in runs:
        for pair, packages in sorted(run["packages"].items()):
            releases = ", ".join(f"{name} {release}" for name, release in sorted(packages.items()))
            yield f"| {_heading(run)} | {pair} | {releases} |"


def joined(old: Run, new: Run) -> Run:
    """Return a kept run with what newer ones have found, for each pair of Python and Django by itself."""
    found = {case: {**old["cases"].get(case, {}), **new["cases"].get(case, {})} for case in cases()}
    return {**new, "packages": {**old["packages"], **new["packages"]}, "cases": found}


def written(page: str, runs: Sequence[Run]) -> str:
    """Return the page with the table in it."""
    return re.sub(f"(?s)(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", lambda _: render(runs), page)


def main() -> None:
    """Keep the new runs, and write the page."""
    KEPT.mkdir(exist_ok=True)
    for path in NEW.glob("*.json"):
        run, before = json.loads(path.read_text()), KEPT / path.name
        if not before.exists() and not run["packages"]:  # its queue is not installed here
            continue
        run = joined(json.loads(before.read_text()) if before.exists() else run, run)
        before.write_text(json.dumps(run, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(written(PAGE.read_text(), kept()))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}: {len(kept())} runs\n")


if __name__ == "__main__":
    main()
