"""What the server sends on one socket: the newest frame of each job, pings in time, and the goodbye."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from immortus_channels import metrics
from immortus_channels.access.limits import Limits
from immortus_channels.websocket import frames
from immortus_channels.websocket.deadline import Alarm
from immortus_channels.websocket.flow import MAX_AGE, TOO_SLOW, Flow

Send = Callable[[dict[str, Any]], Awaitable[None]]

CLEAN_UP = 1.0
"""Seconds that the goodbye, and cleaning up after a socket, may take."""


class Outbox:
    """Keeps the frames that are still to be sent, and sends them in one task as fast as the client reads."""

    flow: Flow

    def __init__(self, limits: Limits) -> None:
        self.closing: int | None = None
        """The code to close the socket with, once one is known."""
        self.has_gone = False
        """Whether the client has disconnected."""
        self.unsent: dict[str, str] = {}
        """Per job the newest frame that is still to be sent."""
        self.notices: list[str] = []
        """The frames still to be sent that concern the whole socket, oldest first."""
        self._limits = limits
        self._come_back_after: float | None = None
        self._news: asyncio.Future[None] | None = None
        self._is_sending = False

    # Filling

    def tell(self, job_id: str, frame: str) -> None:
        """Send this frame about the job, in place of any earlier one about it that is still unsent."""
        if job_id in self.unsent:
            metrics.FRAMES_REPLACED.add()
        self.unsent[job_id] = frame
        self.wake()

    def withdraw(self, job_id: str) -> bool:
        """Drop the unsent frame about the job; return whether there was one."""
        return self.unsent.pop(job_id, None) is not None

    def notify(self, frame: str) -> None:
        """Send this frame, which concerns the whole socket."""
        self.notices.append(frame)
        self.wake()

    def close(self, code: int) -> None:
        """Close the socket with this code, unless it is closing already."""
        if self.closing is None:
            self.closing = code
            metrics.SOCKETS_CLOSED.add(of=code)
        self.wake()

    def leave(self, code: int, after: float) -> None:
        """Ask the client to come back after so many seconds, and close with this code."""
        self._come_back_after = after
        self.close(code)

    def wake(self) -> None:
        """Wake the sending task; while it sends a frame it needs no notice, because it checks afterwards."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # Sending

    def start(self, send: Send) -> asyncio.Task[None]:
        """Send the first frame, and all that follow, in the task that is returned."""
        age = self._limits.age * random.uniform(0.75, 1.25)  # noqa: S311 - so that not all come back at once
        self.flow = Flow(self._limits, asyncio.get_running_loop().time(), age)
        self.notices.insert(0, frames.hello(self._limits.ping))
        self._alarm = Alarm(self._ring)
        self._sending = asyncio.create_task(self._run(send))
        return self._sending

    def stop(self) -> None:
        """Stop the timer, which outlives the task otherwise."""
        self._alarm.stop()

    def release(self) -> None:
        """Drop the references that lead back here.

        They would leave the socket to the garbage collector, which delays all other sockets when it frees those of a
        minute at once.
        """
        del self._sending, self._alarm

    async def _run(self, send: Send) -> None:
        """Send what there is to send until the socket closes or the client has gone."""
        time = asyncio.get_running_loop().time
        try:
            while self.closing is None and not self.has_gone:
                now = time()
                frame = self._next_frame(now)
                if frame is None:
                    await self._wait()
                    continue
                self._alarm.set(now + self._limits.slow)
                self._is_sending = True
                await send({"type": "websocket.send", "text": frame})
                self._is_sending = False
                self.flow.sent(frames.size(frame), now)
        except departures(has_gone=self.has_gone):
            return

    def _next_frame(self, now: float) -> str | None:
        """Choose the frame to send now; None for none."""
        code = self.flow.verdict(now)
        if code is not None:
            self._come_back_after = random.uniform(0, 5) if code == MAX_AGE else None  # noqa: S311
            self.close(code)
            return None
        if self.notices:
            return self.notices.pop(0)
        if self.flow.needs_ping(now):
            self.flow.pinged(now)
            return frames.PING
        if self.unsent and not self.flow.is_choked:
            return self.unsent.pop(next(iter(self.unsent)))
        return None

    async def _wait(self) -> None:
        """Wait for news, or until a ping or a verdict is due."""
        if self.closing is None:
            self._alarm.set(self.flow.next_at())
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    def _ring(self) -> None:
        if self._is_sending:
            self.close(TOO_SLOW)
            self._sending.cancel()
        else:
            self.wake()

    async def say_goodbye(self, send: Send) -> None:
        """Send the remaining notices, when to come back, and the close."""
        if self.has_gone:
            return
        try:
            async with asyncio.timeout(CLEAN_UP):
                while self.notices:
                    await send({"type": "websocket.send", "text": self.notices.pop(0)})
                if self._come_back_after is not None and self.closing is not None:
                    bye = frames.bye(self.closing, self._come_back_after)
                    await send({"type": "websocket.send", "text": bye})
                await send({"type": "websocket.close", "code": self.closing})
        except departures(has_gone=self.has_gone):  # TimeoutError is an OSError
            return


def departures(*, has_gone: bool = False) -> tuple[type[Exception], ...]:
    """Return the errors that `send` raises when the client has gone.

    Uvicorn raises an OSError, Daphne its own error; Uvicorn raises any RuntimeError once it has announced the end.
    """
    autobahn = sys.modules.get("autobahn.exception")
    daphne = (autobahn.Disconnected,) if autobahn else ()
    return (OSError, *daphne, *((RuntimeError,) if has_gone else ()))
