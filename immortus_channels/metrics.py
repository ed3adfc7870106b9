"""What this process has counted, for dashboards and alarms, in the two kinds that every metrics collector knows.

Counters rise from the start of the process; gauges go up and down. A job's own calls never touch them: they count where
something is written, sent, opened or closed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number at this moment; `labels` has at most one entry."""

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, str]
    value: float


class Metric:
    """One number, or one for each value of `label`. Safe in every thread."""

    __slots__ = ("_lock", "_values", "help", "kind", "label", "name")

    def __init__(self, kind: Kind, name: str, help_: str, *, label: str = "") -> None:
        self.kind = kind
        self.name = name
        self.help = help_
        self.label = label
        self.reset()
        os.register_at_fork(after_in_child=self.reset)
        _metrics.append(self)

    def add(self, amount: float = 1, of: object = "") -> None:
        """Count `amount` more, under the value `of` of the label; takes a fraction of a microsecond."""
        with self._lock:
            self._values[of] = self._values.get(of, 0) + amount

    def set(self, value: float) -> None:
        """Set the gauge to `value`."""
        self._values[""] = value

    def reset(self) -> None:
        """Begin again at zero: a forked child has done nothing yet, and its lock may be held for ever."""
        self._lock = threading.Lock()
        self._values: dict[object, float] = {} if self.label else {"": 0}

    def read(self) -> float | dict[str, float]:
        """Return the number, or a number for each value of the label that has been seen."""
        with self._lock:
            values = {str(of): value for of, value in self._values.items()}
        return values if self.label else values[""]

    def samples(self) -> Iterator[Sample]:
        """Yield the same as samples."""
        found = self.read()
        for of, value in sorted(found.items()) if isinstance(found, dict) else [("", found)]:
            labels = {self.label: of} if self.label else {}
            yield Sample(name=self.name, kind=self.kind, help=self.help, labels=labels, value=value)


_metrics: list[Metric] = []

# Pushing
PUBLISHED = Metric("counter", "published", "Documents that the channel layer took.")
PUBLISH_SECONDS = Metric("counter", "publish_seconds", "Seconds that the channel layer took for them.")
LAYER_ERRORS = Metric("counter", "layer_errors", "Calls of the channel layer that failed or hung.", label="call")
PROBE_TIMEOUTS = Metric("counter", "probe_timeouts", "Times this process was found deaf to the channel layer.")
# Sockets
SOCKETS = Metric("gauge", "sockets", "Sockets that are open.")
WATCHES = Metric("gauge", "watches", "Watches that are open: one for each job of each socket.")
WATCHES_RESUMED = Metric("counter", "watches_resumed", "Watches of clients that had a version already: most came back.")
WATCHES_DENIED = Metric("counter", "watches_denied", "Watches of jobs that are unknown, or not for that user.")
FRAMES_REPLACED = Metric("counter", "frames_replaced", "Frames that a newer one replaced before a socket took them.")
SOCKETS_CLOSED = Metric("counter", "sockets_closed", "Sockets that this side closed.", label="code")
SOCKETS_REFUSED = Metric("counter", "sockets_refused", "Handshakes refused because of their Origin.")
# Healing
PUSHES_HEALED = Metric("counter", "pushes_healed", "Changes found by re-check although their push should have come.")
ROLLBACKS = Metric("counter", "rollbacks", "Jobs whose store was found older than what had been sent.")
# Writing
STORE_RETRIES = Metric("counter", "store_retries", "Rounds of the writer that the store did not take.")
WRITES_WAITING = Metric("gauge", "writes_waiting", "Events that wait to be written to the store.")
WRITES_DROPPED = Metric("counter", "writes_dropped", "Events that could not be kept or applied.")


def samples() -> list[Sample]:
    """Return every number of this process."""
    return [sample for metric in tuple(_metrics) for sample in metric.samples()]


def read() -> dict[str, float | dict[str, float]]:
    """Return every number by its name; one with a label is a dict from the label's values to numbers."""
    return {metric.name: metric.read() for metric in tuple(_metrics)}
