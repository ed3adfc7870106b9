"""A history of what was written and what viewers were shown, and the verdict on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Document = Mapping[str, Any]

OVER = frozenset({"finished", "failed", "cancelled", "lost"})
"""States that end a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One broken promise: its `rule`, the viewer, the job, and what happened."""

    rule: str
    viewer: str
    job_id: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.viewer}, job {self.job_id}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """How long pages showed something older than the last write, in seconds."""

    median: float
    p95: float
    longest: float
    writes: int
    """How many writes, counted once for each page that was to show them."""

    def __str__(self) -> str:
        times = f"median {self.median:.3f} s, 95 % within {self.p95:.3f} s, longest {self.longest:.3f} s"
        return f"staleness over {self.writes} writes: {times}"


@dataclass(frozen=True, slots=True)
class _Entry:
    at: float
    document: Document

    @property
    def version(self) -> int:
        return int(self.document["version"])

    @property
    def is_over(self) -> bool:
        return self.document["state"] in OVER

    def __str__(self) -> str:
        return f"version {self.version} ({self.document['state']})"


class History:
    """Records every write and everything that viewers were shown, from any thread, and judges it.

    Documents are job documents: mappings with at least `job_id`, `version`, `state`, and `attempt` if a job may run
    more than once. Times are seconds of one clock, `time.monotonic()` by default. `seed` is the value that repeats the
    test; the findings name it.
    """

    def __init__(self, seed: object = None) -> None:
        self.seed = seed
        self._lock = threading.Lock()
        self._writes: dict[str, list[_Entry]] = {}
        self._shown: dict[tuple[str, str], list[_Entry]] = {}
        self._settled: dict[tuple[str, str], int] = {}
        self._left: dict[str, float] = {}
        self._counts_settling = False

    # Recording

    def wrote(self, document: Document, at: float | None = None) -> None:
        """Record a write."""
        with self._lock:
            self._writes.setdefault(document["job_id"], []).append(_entry(document, at))

    def shown(self, viewer: str, document: Document, at: float | None = None) -> None:
        """Record what the viewer was shown."""
        with self._lock:
            self._shown.setdefault((viewer, document["job_id"]), []).append(_entry(document, at))

    def settled(self, viewer: str, job_id: str) -> None:
        """Record that the viewer's promise of the job was kept or broken; other than once per job is a finding."""
        with self._lock:
            self._counts_settling = True
            self._settled[viewer, job_id] = self._settled.get((viewer, job_id), 0) + 1

    def left(self, viewer: str, at: float | None = None) -> None:
        """Record that the viewer has gone, and need not be shown later writes."""
        with self._lock:
            self._left[viewer] = time.monotonic() if at is None else at

    # Judging

    def check(self, *, within: float | None = None) -> None:
        """Raise AssertionError with all findings, unless there are none."""
        findings = self.findings(within=within)
        if findings:
            report = "\n".join(f"- {finding}" for finding in findings)
            msg = f"{len(findings)} broken promises (seed {self.seed!r}; {self.staleness()}):\n{report}"
            raise AssertionError(msg)

    def findings(self, *, within: float | None = None) -> list[Finding]:
        """Return every broken promise; with `within`, also each write that took a page longer than so many seconds."""
        with self._lock:
            return [finding for page in self._pages() for finding in page.findings(within)]

    def staleness(self) -> Staleness:
        """Return how long pages were behind, over all writes and pages."""
        with self._lock:
            delays = sorted(delay for page in self._pages() for _, delay in page.delays() if delay is not None)
        if not delays:
            return Staleness(median=0.0, p95=0.0, longest=0.0, writes=0)
        at = len(delays) - 1
        return Staleness(
            median=delays[at // 2], p95=delays[round(at * 0.95)], longest=delays[at], writes=len(delays)
        )  # fmt: skip

    def _pages(self) -> Iterator[_Page]:
        for (viewer, job_id), shown in self._shown.items():
            left_at = self._left.get(viewer)
            writes = [one for one in self._writes.get(job_id, []) if left_at is None or one.at < left_at]
            settled = self._settled.get((viewer, job_id), 0) if self._counts_settling else None
            yield _Page(viewer, job_id, writes, shown, settled, is_open=left_at is None)


class _Page:
    """What one viewer saw of one job, beside the writes of that job."""

    def __init__(  # noqa: PLR0913 - made in one place
        self, viewer: str, job_id: str, writes: list[_Entry], shown: list[_Entry], settled: int | None, *, is_open: bool
    ) -> None:
        self._viewer, self._job_id = viewer, job_id
        self._writes = sorted(writes, key=lambda entry: entry.version)
        self._shown = shown
        self._settled = settled
        self._is_open = is_open

    def findings(self, within: float | None) -> Iterator[Finding]:
        rules = (self._went_back, self._untrue, self._not_the_end, self._changed_after_the_end, self._not_settled_once)
        for rule in rules:
            yield from rule()
        if within is not None:
            yield from self._late(within)

    def delays(self) -> Iterator[tuple[_Entry, float | None]]:
        """Yield each write that the page had to show, and the seconds until it showed that or newer; None for never."""
        first = self._shown[0].at
        for write in self._writes:
            shown_at = next((one.at for one in self._shown if one.version >= write.version), None)
            if write.at >= first or write is self._writes[-1]:
                yield write, None if shown_at is None else max(shown_at - max(write.at, first), 0.0)

    def _finding(self, rule: str, text: str) -> Finding:
        return Finding(rule=rule, viewer=self._viewer, job_id=self._job_id, text=text)

    def _went_back(self) -> Iterator[Finding]:
        for before, after in pairwise(self._shown):
            if after.version < before.version:
                yield self._finding("went back", f"{after} was shown after {before}")

    def _untrue(self) -> Iterator[Finding]:
        """Yield what was shown but never written, if writes were recorded."""
        written = {write.version: write for write in self._writes}
        for one in self._shown if self._writes and self._is_open else ():
            write = written.get(one.version)
            if write is None:
                yield self._finding("never written", f"{one} was shown")
            elif dict(write.document) != dict(one.document):
                yield self._finding("not as written", f"{one} was shown as {dict(one.document)}")

    def _not_the_end(self) -> Iterator[Finding]:
        if self._writes and self._is_open and self._shown[-1].version < self._writes[-1].version:
            yield self._finding("stuck", f"{self._shown[-1]} is the last shown, {self._writes[-1]} the last written")

    def _changed_after_the_end(self) -> Iterator[Finding]:
        """Yield changes after the end: an ended attempt stays so; a lost job may be revived."""
        for before, after in pairwise(self._shown):
            is_final = before.is_over and before.document["state"] != "lost"
            is_same_run = before.document.get("attempt") == after.document.get("attempt")
            if is_final and is_same_run and after.version > before.version:
                yield self._finding("changed after its end", f"{after} was shown after {before}")

    def _not_settled_once(self) -> Iterator[Finding]:
        wanted = int(any(one.is_over for one in self._shown))
        if self._settled is not None and self._settled != wanted:
            yield self._finding("settled wrongly", f"settled {self._settled} times, and {wanted} is right")

    def _late(self, within: float) -> Iterator[Finding]:
        for write, delay in self.delays():
            if delay is not None and delay > within:
                text = f"{write} was shown {delay:.3f} s after it was written, not within {within} s"
                yield self._finding("late", text)


def _entry(document: Document, at: float | None) -> _Entry:
    return _Entry(time.monotonic() if at is None else at, document)
