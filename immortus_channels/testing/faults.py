"""What can go wrong on the way between a client and its server, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Answer:
    """What the proxy itself says to a request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __bytes__(self) -> bytes:
        told = {"Content-Length": len(self.body), "Connection": "close", **self.headers}
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *(f"{k}: {v}" for k, v in told.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong on the way between a client and its server; all that is left out works."""

    refuse: bool = False
    """The connection is reset as soon as the request is known."""
    hang: bool = False
    """Nothing is ever answered."""
    answer: Answer | None = None
    """The proxy answers by itself."""
    strip: tuple[str, ...] = ()
    """Header fields that are taken out of requests and answers."""
    kill_after: float | None = None
    """Seconds from the answer's head (a WebSocket's opening) until the connection is cut."""
    reset: bool = False
    """Connections are cut with RST, not FIN."""
    blackhole: Literal["", "up", "down", "both"] = ""
    """What is sent up (to the server) or down does not arrive while this lasts, and neither does its end."""
    bandwidth: float | None = None
    """Bytes a second, each way."""
    latency: float = 0.0
    """Seconds on each way."""
    jitter: float = 0.0
    """By how many seconds more, at most."""
    slice: int | None = None
    """Bytes in one piece."""
    hold_bytes: int | None = None
    """What the server sends is kept back until it is so much, or ends."""
    hold_seconds: float | None = None
    """What the server sends is kept back until it is so old, or ends."""

    def __post_init__(self) -> None:
        """Refuse what would be a fault that never happens, and so a test that passes."""
        checked(self, "answer", lambda answer: answer is None or isinstance(answer, Answer), "an Answer")
        checked(self, "blackhole", lambda way: way in ("", "up", "down", "both"), "'up', 'down' or 'both'")
        for name in ("latency", "jitter"):
            checked(self, name, lambda seconds: seconds >= 0, "0 or more")
        for name in ("kill_after", "bandwidth", "slice", "hold_bytes", "hold_seconds"):
            checked(self, name, lambda number: number is None or number >= 0, "0 or more, or None")


def checked(faults: object, name: str, is_good: Callable[[Any], bool], wanted: str) -> None:
    """Raise ValueError unless the field is good, also where it is of a kind that cannot be compared."""
    value = getattr(faults, name)
    try:
        if is_good(value):
            return
    except TypeError:
        pass
    msg = f"{type(faults).__name__} has {name}={value!r}: give {wanted}."
    raise ValueError(msg)
