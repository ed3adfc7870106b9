"""The WebSocket: one consumer per socket. It speaks `immortus.v1`, the hub knows the jobs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import AsyncConsumer  # type: ignore[import-untyped]

from immortus_channels import frames
from immortus_channels.consumers import origins
from immortus_channels.consumers.flow import MAX_AGE, TOO_MANY, TOO_SLOW, Flow, Limits
from immortus_channels.consumers.login import Login
from immortus_channels.frames import Pong, Unwatch, Watch
from immortus_channels.hub import Hub, get_hub
from immortus_channels.ids import is_job_id

logger = logging.getLogger("immortus_channels")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PROTOCOL_ERROR = 4500
INTERNAL_ERROR = 1011
BAD_MESSAGES = 10
CLEAN_UP = 1.0
"""Seconds that cleaning up after a socket may take."""


class JobConsumer(AsyncConsumer):  # type: ignore[misc] # Channels has no types
    """Watches jobs for one socket.

    It needs no channel of its own, and brings its own loop: Channels' goes through one global thread per message.
    One task listens and never waits; one task speaks. What is not yet said is kept per job, newest only.
    """

    channel_layer_alias = None

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._hub: Hub | None = None
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._notices: deque[str] = deque()
        self._unsent: dict[str, str] = {}
        self._news = asyncio.Event()
        self._closing: int | None = None
        self._bad_messages = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one socket from handshake to close."""
        if (await receive())["type"] != "websocket.connect":
            return
        if not origins.is_allowed(scope):
            origins.log_refusal(scope)
            await send({"type": "websocket.close"})
            return
        self._login = Login(scope)
        self.user = self._login.user
        age = self._limits.age * random.uniform(0.75, 1.25)  # noqa: S311 - so that not all come back at once
        self._flow = Flow(self._limits, _time(), age)
        subprotocol = frames.SUBPROTOCOL if frames.SUBPROTOCOL in scope.get("subprotocols", ()) else None
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
        except OSError:  # the client has gone meanwhile
            return
        listening = asyncio.create_task(self._listen(receive))
        speaking = asyncio.create_task(self._speak(send))
        self._notices.append(frames.hello(self._limits.ping))
        job_id = scope.get("url_route", {}).get("kwargs", {}).get("job_id")
        if is_job_id(job_id):
            self._watch(Watch(job_id, 0))
        try:
            await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._clean_up(listening, speaking)

    async def _clean_up(self, listening: asyncio.Task[None], speaking: asyncio.Task[None]) -> None:
        """Forget every watch, and leave no task behind."""
        tasks = {speaking, *self._watches.values()}
        for job_id in tuple(self._watches):
            self._unwatch(job_id)
        for task in tasks:
            task.cancel()
        if not speaking.done() or self._closing is None:
            listening.cancel()
        # After our own close the server still has its `websocket.disconnect` to deliver.
        await asyncio.wait({listening, *tasks}, timeout=CLEAN_UP)
        listening.cancel()

    # Listening

    async def _listen(self, receive: Receive) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            if self._closing is not None:
                continue
            if not self._flow.heard(_time()):
                self.close(TOO_MANY)
                continue
            self._obey(frames.decode(message.get("text")))

    def _obey(self, command: frames.Command | None) -> None:
        match command:
            case Watch():
                self._watch(command)
            case Unwatch(job_id):
                self._unwatch(job_id)
            case Pong():
                self._flow.ponged()
                self._news.set()
            case None:
                self._complain()

    def _watch(self, command: Watch) -> None:
        job_id = command.job_id
        if job_id not in self._watches and len(self._watches) >= frames.MAX_JOBS:
            self.tell(job_id, frames.too_many_jobs(job_id, authenticated=self.user.is_authenticated))
            return
        if job_id in self._watches:
            self._watches[job_id].cancel()
        self._hub = get_hub()
        watch = asyncio.create_task(self._hub.watch(self, job_id, command.version))
        watch.add_done_callback(self._report)
        self._watches[job_id] = watch

    def _unwatch(self, job_id: str) -> None:
        watch = self._watches.pop(job_id, None)
        if watch is None or self._hub is None:
            return
        watch.cancel()
        self._hub.unwatch(self, job_id)
        self._unsent.pop(job_id, None)

    def _complain(self) -> None:
        self._bad_messages += 1
        if self._bad_messages < BAD_MESSAGES:
            self._notices.append(frames.BAD_MESSAGE)
            self._news.set()
        else:
            self.close(PROTOCOL_ERROR)

    def _report(self, task: asyncio.Task[None]) -> None:
        """A watch or the speaker ended by an error we do not know: say so, and let the client come back."""
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A socket met an error it does not know", exc_info=error)
            self.close(INTERNAL_ERROR)

    # What the hub calls

    def tell(self, job_id: str, frame: str) -> None:
        """Send this frame about the job, in place of any other about it that was not sent yet."""
        self._unsent[job_id] = frame
        self._news.set()

    def ended(self, job_id: str) -> None:
        """The hub has forgotten the watch."""
        self._watches.pop(job_id, None)

    def still_logged_in(self) -> bool:
        """Whether the login the socket was opened with holds; called in a thread."""
        user = self._login.read_again()
        if user is not None:
            self.user = user
        return user is not None

    def close(self, code: int) -> None:
        """Close the socket with this code; the first one counts."""
        if self._closing is None:
            self._closing = code
        self._news.set()

    # Speaking

    async def _speak(self, send: Send) -> None:
        """Say what is to be said until the socket closes."""
        try:
            while self._closing is None:
                frame = self._next_frame()
                if frame is None:
                    await self._wait()
                    continue
                async with asyncio.timeout(self._limits.slow):
                    await send({"type": "websocket.send", "text": frame})
                self._flow.sent(frames.size(frame), _time())
        except TimeoutError:
            self.close(TOO_SLOW)
        except OSError:  # the client has gone: Uvicorn's ClientDisconnected is one
            return
        await self._say_goodbye(send)

    def _next_frame(self) -> str | None:
        """What to say now; None for nothing."""
        now = _time()
        code = self._flow.verdict(now)
        if code is not None:
            self.close(code)
            return None
        if self._notices:
            return self._notices.popleft()
        if self._flow.needs_ping(now):
            self._flow.pinged(now)
            return frames.PING
        if self._unsent and not self._flow.is_choked:
            return self._unsent.pop(next(iter(self._unsent)))
        return None

    async def _wait(self) -> None:
        """Wait for news, or for the time to look again."""
        self._news.clear()
        if self._closing is not None:
            return
        try:
            async with asyncio.timeout(max(self._flow.next_at() - _time(), 0.0)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _say_goodbye(self, send: Send) -> None:
        try:
            async with asyncio.timeout(CLEAN_UP):
                for frame in self._notices:
                    await send({"type": "websocket.send", "text": frame})
                if self._closing == MAX_AGE:
                    await send({"type": "websocket.send", "text": frames.bye(MAX_AGE, random.uniform(0, 5))})  # noqa: S311
                await send({"type": "websocket.close", "code": self._closing})
        except (TimeoutError, OSError):
            return


def _time() -> float:
    return asyncio.get_running_loop().time()
