"""A channel layer that loses, repeats, reorders and delays messages, fails and hangs, on purpose."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from channels.layers import InMemoryChannelLayer  # type: ignore[import-untyped]
from django.utils.module_loading import import_string

from immortus_channels.testing.faults import refuse_unless

CALLS = ("send", "group_send", "group_add", "group_discard", "new_channel", "receive")
"""The calls of a channel layer that may fail or hang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFaults:
    """The faults of a channel layer; everything left out works."""

    drop: float = 0.0
    """The chance, 0 to 1, that a sent message is never received."""
    duplicate: int = 0
    """How many more times each message is received."""
    reorder: int = 0
    """How many later messages may be chosen before the one whose turn it is."""
    delay: float = 0.0
    """Seconds, at most, until a message is received."""
    fail: float = 0.0
    """The chance that a call raises ConnectionError."""
    stall: float = 0.0
    """The chance that a call hangs, until other faults are set."""
    calls: tuple[str, ...] = CALLS
    """The calls that fail and hang."""

    def __post_init__(self) -> None:
        """Refuse a fault that could never happen, and so a test that could not fail."""
        for name in ("drop", "fail", "stall"):
            refuse_unless(self, name, lambda chance: 0 <= chance <= 1, "a chance, 0 to 1")
        for name in ("duplicate", "reorder", "delay"):
            refuse_unless(self, name, lambda number: number >= 0, "0 or more")
        refuse_unless(self, "calls", lambda calls: set(calls) <= set(CALLS), f"some of {', '.join(CALLS)}")


class FaultyChannelLayer:
    """A channel layer around another one; set `faults` at any time, also while calls are waiting.

    In settings: `{"BACKEND": "immortus_channels.testing.FaultyChannelLayer", "CONFIG": {"layer": {"BACKEND": …,
    "CONFIG": …}, "seed": 7, "drop": 0.3}}`. Without a `layer` an in-memory one is used. Messages suffer when they are
    received, so the sender sees no failure. The same `seed` makes the same choices for the same messages.
    """

    IDLE = 0.1
    """Seconds of silence after which no message is held back any longer for others to overtake it."""
    _TICK = 0.02

    def __init__(self, layer: Any = None, *, seed: int = 0, **faults: Any) -> None:
        """Wrap `layer`, a channel layer or its description as in CHANNEL_LAYERS; `faults` are those of LayerFaults."""
        self.faults = LayerFaults(**faults)
        self.seed = seed
        self.counts: Counter[str] = Counter()
        """How often each fault happened: received, dropped, duplicated, delayed, overtaken, failed, stalled."""
        self._layer = _make(layer)
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._order = itertools.count()
        self._channels: dict[str, _Channel] = {}

    def __getattr__(self, name: str) -> Any:
        """Return the inner layer's attribute: extensions, flush, capacity, close_pools and so on."""
        return getattr(self._layer, name)

    async def send(self, channel: str, message: Mapping[str, Any]) -> None:
        """Send to one channel."""
        await self._call("send", channel, message)

    async def group_send(self, group: str, message: Mapping[str, Any]) -> None:
        """Send to all channels of a group."""
        await self._call("group_send", group, message)

    async def group_add(self, group: str, channel: str) -> None:
        """Join a group."""
        await self._call("group_add", group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leave a group."""
        await self._call("group_discard", group, channel)

    async def new_channel(self, *prefix: str) -> str:
        """Return a new channel's name."""
        name: str = await self._call("new_channel", *prefix)
        return name

    async def _call(self, name: str, *arguments: object) -> Any:
        await self._suffer(name)
        return await getattr(self._layer, name)(*arguments)

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel, after all faults that apply to it."""
        inbox = self._channels.setdefault(channel, _Channel())
        seen = None
        try:
            while True:
                if self.faults is not seen:
                    seen = self.faults
                    await self._suffer("receive")
                ready = inbox.take(self._now(), self.faults.reorder, self._random, self.IDLE)
                if ready is not None:
                    self.counts["overtaken"] += ready.overtook
                    self.counts["received"] += 1
                    return ready.message
                await self._listen(channel, inbox)
        except BaseException:
            inbox.close()
            raise

    async def _listen(self, channel: str, inbox: _Channel) -> None:
        """Wait a moment for the inner layer's next message."""
        if inbox.coming is None:
            inbox.coming = asyncio.ensure_future(self._layer.receive(channel))
        await asyncio.wait({inbox.coming}, timeout=self._TICK)
        if inbox.coming.done():
            coming, inbox.coming = inbox.coming, None
            self._receive(inbox, coming.result())

    def _receive(self, inbox: _Channel, message: Any) -> None:
        """Decide which faults a message meets."""
        faults = self.faults
        if self._random.random() < faults.drop:
            self.counts["dropped"] += 1
            return
        self.counts["duplicated"] += faults.duplicate
        self.counts["delayed"] += bool(faults.delay)
        for _ in range(1 + faults.duplicate):
            due = self._now() + self._random.uniform(0, faults.delay)
            inbox.held.append(_Held(next(self._order), due, message))
        inbox.arrived_at = self._now()

    async def _suffer(self, call: str) -> None:
        """Raise or hang as the faults say."""
        faults = self.faults
        if call not in faults.calls:
            return
        if self._random.random() < faults.fail:
            self.counts["failed"] += 1
            msg = f"{call}() of the channel layer fails on purpose (seed {self.seed})"
            raise ConnectionError(msg)
        if self._random.random() < faults.stall:
            self.counts["stalled"] += 1
            while self.faults is faults:  # noqa: ASYNC110 - faults are set from any thread
                await asyncio.sleep(self._TICK)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class _Held:
    """One message on its way."""

    __slots__ = ("due", "message", "order", "overtook")

    def __init__(self, order: int, due: float, message: Any) -> None:
        self.order, self.due, self.message = order, due, message
        self.overtook = False


class _Channel:
    """The messages of one channel that are held back."""

    def __init__(self) -> None:
        self.held: list[_Held] = []
        self.arrived_at = 0.0
        self.coming: asyncio.Future[Any] | None = None

    def take(self, now: float, window: int, dice: random.Random, idle: float) -> _Held | None:
        """Remove and return the next message; None while all have to wait."""
        ready = [held for held in self.held if held.due <= now]
        if not ready or (len(ready) <= window and now < self.arrived_at + idle):
            return None
        chosen = dice.choice(ready[: window + 1])
        chosen.overtook = any(other.order < chosen.order for other in self.held)
        self.held.remove(chosen)
        return chosen

    def close(self) -> None:
        """Stop receiving: the caller has gone."""
        if self.coming is not None:
            self.coming.cancel()
            self.coming = None


def _make(layer: Any) -> Any:
    """Return the inner layer, made from its description if need be."""
    if layer is None:
        return InMemoryChannelLayer()
    if isinstance(layer, Mapping):
        return import_string(layer["BACKEND"])(**layer.get("CONFIG", {}))
    return layer
