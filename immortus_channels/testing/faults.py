"""Faults on the way between a client and its server, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Answer:
    """What the proxy itself answers to a request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __bytes__(self) -> bytes:
        headers = {"Content-Length": len(self.body), "Connection": "close", **self.headers}
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults on the way between a client and its server; everything left out works."""

    refuse: bool = False
    """The proxy resets the connection as soon as it has read the request."""
    hang: bool = False
    """The proxy never answers."""
    answer: Answer | None = None
    """The proxy answers instead of the server."""
    strip: tuple[str, ...] = ()
    """Header fields that the proxy removes from requests and answers."""
    kill_after: float | None = None
    """Seconds from the answer's head (a WebSocket's opening) until the proxy cuts the connection."""
    reset: bool = False
    """The proxy cuts connections with RST, not FIN."""
    blackhole: Literal["", "up", "down", "both"] = ""
    """Bytes sent up (to the server) or down do not arrive while this lasts, nor does the connection's end."""
    bandwidth: float | None = None
    """Bytes a second, each way."""
    latency: float = 0.0
    """Seconds on each way."""
    jitter: float = 0.0
    """Additional seconds, at most."""
    slice: int | None = None
    """Bytes in one piece."""
    hold_bytes: int | None = None
    """The proxy keeps the server's bytes back until it has so many, or they end."""
    hold_seconds: float | None = None
    """The proxy keeps the server's bytes back until they are so old, or they end."""

    def __post_init__(self) -> None:
        """Refuse a fault that could never happen, and so a test that could not fail."""
        refuse_unless(self, "answer", lambda answer: answer is None or isinstance(answer, Answer), "an Answer")
        refuse_unless(self, "blackhole", lambda way: way in ("", "up", "down", "both"), "'up', 'down' or 'both'")
        for name in ("latency", "jitter"):
            refuse_unless(self, name, lambda seconds: seconds >= 0, "0 or more")
        for name in ("kill_after", "bandwidth", "slice", "hold_bytes", "hold_seconds"):
            refuse_unless(self, name, lambda number: number is None or number >= 0, "0 or more, or None")


def refuse_unless(faults: object, name: str, is_good: Callable[[Any], bool], wanted: str) -> None:
    """Raise ValueError unless the field is good, even if its type cannot be compared."""
    value = getattr(faults, name)
    try:
        if is_good(value):
            return
    except TypeError:
        pass
    msg = f"{type(faults).__name__} has {name}={value!r}: give {wanted}."
    raise ValueError(msg)
