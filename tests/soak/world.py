"""What the stories share: sites served as the documentation recommends, their memory, and reports."""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.site import ROOT, Process, Site, eventually

REPORTS = ROOT / "build" / "soak"
SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
SERVERS = {
    "uvicorn": ("--port", "{port}", "--no-access-log", "--ws-max-size", "16384", "--ws-per-message-deflate", "false"),
    "daphne": (
        *("-b", "127.0.0.1", "-p", "{port}", "--no-server-name", "--access-log", "/dev/null"),
        *("--websocket-max-message-size", "16384", "--websocket-max-frame-size", "16384"),
    ),
}
MIB = 1 << 20


class SoakSite(Site):
    """The site of the soak."""

    def __init__(self, var: Path, **options: Any) -> None:
        super().__init__(var, DJANGO_SETTINGS_MODULE="tests.soak.settings", **options)

    def start_web(self, asgi: str = "tests.soak.asgi:application") -> Process:
        """Start the web server with the recommended options and wait until it answers."""
        options = (option.format(port=self.port) for option in SERVERS[self.server])
        web = self.spawn("web", self.server, *options, asgi)
        eventually(lambda: self.http.get("/immortus/verify").status_code, within=60)
        return web


def resident(process: Process) -> float:
    """MiB of memory that the process holds."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def cpu_seconds(process: Process) -> float:
    """Seconds of a processor that it has used."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Gauge:
    """Samples memory of processes and the load of the machine, in a thread of its own; a context manager."""

    EVERY = 1.0

    def __init__(self, **processes: Callable[[], Process]) -> None:
        self._processes = processes
        self._samples: dict[str, list[tuple[float, int, float]]] = {name: [] for name in processes}
        """Time, process id, MiB."""
        self._loads: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(self.EVERY):
            self._loads.append(os.getloadavg()[0])
            for name, process in self._processes.items():
                now = process()
                self._samples[name].append((time.monotonic(), now.pid, resident(now)))

    def memory(self, name: str, *, warm_up: float) -> dict[str, float]:
        """Of the process that was there last, after its first seconds: MiB at both ends and their slope per minute."""
        samples = self._samples[name]
        last = [(at, size) for at, pid, size in samples if pid == samples[-1][1] and size]
        settled = [(at, size) for at, size in last if at >= last[0][0] + warm_up] or last
        times, sizes = zip(*settled, strict=True)
        slope = statistics.linear_regression(times, sizes).slope * 60 if len(settled) > 1 else 0.0
        return {
            "seconds": times[-1] - times[0], "first": sizes[0], "last": sizes[-1],
            "most": max(sizes), "slope_per_minute": slope,
        }  # fmt: skip

    def load(self) -> dict[str, float]:
        """Of the machine, a minute's average, and its processors."""
        return {"mean": statistics.mean(self._loads), "most": max(self._loads), "processors": os.cpu_count() or 1}


def write(name: str, report: dict[str, Any]) -> None:
    """Keep a report, and put all reports of this kind side by side as text."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / f"{name}.json").write_text(json.dumps(report, indent=1))
    kind = name.split("-", maxsplit=1)[0]
    all_of_kind = {file.stem: json.loads(file.read_text()) for file in sorted(REPORTS.glob(f"{kind}-*.json"))}
    lines = [table({stem: flat(one) for stem, one in all_of_kind.items()})]
    (REPORTS / f"{kind}.txt").write_text("\n".join(lines) + "\n")


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Every figure by its path."""
    if isinstance(value, dict):
        return {path: text for key, one in value.items() for path, text in flat(one, f"{prefix}{key}.").items()}
    if isinstance(value, list):
        return {}
    return {prefix[:-1]: f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)}


def table(columns: dict[str, dict[str, str]]) -> str:
    """A column for each report, a line for each figure."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [["", *columns], *([name, *(column.get(name, "") for column in columns.values())] for name in names)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(columns) + 1)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
