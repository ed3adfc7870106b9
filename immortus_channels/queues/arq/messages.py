"""What goes into messages and results of arq, and comes out of them.

A message is a dictionary of which arq's workers read the entries that they know: one more is the header.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from arq.connections import ArqRedis
from arq.worker import Worker

from immortus_channels.queues.hooks import Given, Outcome

if TYPE_CHECKING:
    from immortus_channels.queues.deliveries import Delivery

HEADER = "immortus"
"""The entry of a message that says what its sender knows."""


@dataclass(slots=True)
class Message:
    """A message that a worker is at, as far as arq has said what becomes of it."""

    score: int
    received: float
    """When, by the monotonic clock."""
    header: Mapping[str, Any] | None = None
    function: str = ""
    is_run: bool = False
    delivery: Delivery | None = None
    outcome: Outcome | None = None
    """How the body ended; None if it was not run."""
    is_success: bool | None = None
    result: object = None
    """What arq says of the end, which for a failure is why; None where it keeps no results."""


sent: ContextVar[Mapping[str, Any] | None] = ContextVar("immortus_arq_sent", default=None)
"""The header of the message that is being sent here."""
message_here: ContextVar[Message | None] = ContextVar("immortus_arq_message", default=None)


def writing(*args: Any, serializer: Callable[[dict[str, Any]], bytes] | None = None) -> Iterator[Given] | None:
    """Be around what makes a message: put the header in."""
    header = sent.get()
    if header is None:
        return None

    def write(data: dict[str, Any]) -> bytes:
        return (serializer or pickle.dumps)({**data, HEADER: header})

    return _with(args, {"serializer": write})


def receiving(_worker: Worker, _job_id: str, score: int) -> None:
    """Note that this asyncio task works at a message."""
    message_here.set(Message(score, time.monotonic()))


def reading(*args: Any, deserializer: Callable[[bytes], dict[str, Any]] | None = None) -> Iterator[Given] | None:
    """Be around what reads a message: note the header."""
    message = message_here.get()
    if message is None:
        return None

    def read(packed: bytes) -> dict[str, Any]:
        data = (deserializer or pickle.loads)(packed)
        if isinstance(data, dict):
            message.header, message.function = data.get(HEADER), str(data.get("f", ""))
        return data

    return _with(args, {"deserializer": read})


def keeping(
    *args: Any, serializer: Callable[[dict[str, Any]], bytes] | None = None, **kwargs: Any
) -> Iterator[Given] | None:
    """Be around what makes a result: note what it says in the end."""
    message = message_here.get()
    if message is None:
        return None

    def keep(data: dict[str, Any]) -> bytes:
        packed = (serializer or pickle.dumps)(data)
        message.is_success, message.result = data["s"], data["r"]
        return packed

    return _with(args, {**kwargs, "serializer": keep})


def _with(args: Any, kwargs: dict[str, Any]) -> Iterator[Given]:
    yield Given(args, kwargs)


def may_carry(redis: ArqRedis) -> bool:
    """Return whether messages of this connection have room for a header: a project's own serializer may refuse it."""
    write, read = redis.job_serializer, redis.job_deserializer
    return (write is None and read is None) or _is_read_back(write or pickle.dumps, read or pickle.loads)


@lru_cache(maxsize=64)
def _is_read_back(write: Callable[[dict[str, Any]], bytes], read: Callable[[bytes], dict[str, Any]]) -> bool:
    data = {"t": None, "f": "f", "a": (), "k": {}, "et": 0, HEADER: {"send_id": "x", "staff_only": False}}
    try:
        return bool(read(write(data))[HEADER] == data[HEADER])
    except Exception:  # noqa: BLE001 - a project's code may raise anything
        return False
