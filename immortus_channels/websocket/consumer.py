"""The WebSocket: one consumer per socket. It speaks `immortus.v1`, the hub knows the jobs."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer  # type: ignore[import-untyped]

from immortus_channels import metrics
from immortus_channels.access import quotas, visitors
from immortus_channels.access.limits import Limits
from immortus_channels.access.limits import limits as present_limits
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.websocket import frames, origins
from immortus_channels.websocket.bearer import Bearer
from immortus_channels.websocket.deadline import Alarm
from immortus_channels.websocket.flow import MAX_AGE, TOO_MANY, TOO_SLOW, Flow
from immortus_channels.websocket.frames import Pong, Unwatch, Watch
from immortus_channels.websocket.hub import get_drain
from immortus_channels.websocket.login import Login
from immortus_channels.websocket.watches import Watches

logger = logging.getLogger("immortus_channels")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PROTOCOL_ERROR = 4500
INTERNAL_ERROR = 4011
BAD_MESSAGES = 10
FRAMES_IN_A_TURN = 16
"""Taken from one socket before all others have theirs: `receive` of a flood gives frame after frame without waiting."""
HANDSHAKE = 1.0
"""Seconds before a consumer is called in which some middleware may have read the login."""
CLEAN_UP = 1.0
"""Seconds that cleaning up after a socket may take."""


class JobConsumer(AsyncConsumer):  # type: ignore[misc] # Channels has no types
    """Watches jobs for one socket.

    It needs no channel of its own, and brings its own loop: Channels' goes through one global thread per message.
    One task listens and never waits; one task speaks. What is not yet said is kept per job, newest only.
    """

    channel_layer_alias = None

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or present_limits()
        self._watches = Watches(self, self._report)
        self._notices: list[str] = []
        self._unsent: dict[str, str] = {}
        self._news: asyncio.Future[None] | None = None
        self._is_sending = False
        self._has_gone = False
        self._closing: int | None = None
        self._come_back_after: float | None = None
        self._bad_messages = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one socket from handshake to close."""
        if (await receive())["type"] != "websocket.connect":
            return
        if not origins.is_allowed(scope):
            metrics.SOCKETS_REFUSED.add()
            origins.log_refusal(scope)
            await send({"type": "websocket.close"})
            return
        self._login = Login(scope)
        self.user = self._login.user
        self.login_read_at = time.monotonic() - HANDSHAKE
        self._account = quotas.key_of(self.user, scope.get("session"), partial(visitors.of_scope, scope))
        subprotocol = frames.SUBPROTOCOL if frames.SUBPROTOCOL in scope.get("subprotocols", ()) else None
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
        except self._departure():
            return
        if quotas.is_suspended(self._account) or not quotas.enter(self._account):
            metrics.SOCKETS_CLOSED.add(of=TOO_MANY)
            await send({"type": "websocket.close", "code": TOO_MANY})
            return
        try:
            await self._serve(scope, receive, send)
        finally:
            quotas.leave(self._account)

    async def _serve(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        age = self._limits.age * random.uniform(0.75, 1.25)  # noqa: S311 - so that not all come back at once
        self._flow = Flow(self._limits, _time(), age)
        self._notices.append(frames.hello(self._limits.ping))
        job_id = scope.get("url_route", {}).get("kwargs", {}).get("job_id")
        if is_job_id(job_id):
            self._watches.begin(Watch(job_id, 0))
        with get_drain().holding(self):
            await self._converse(receive, send)

    async def _converse(self, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(self._listen(receive))
        speaking = asyncio.create_task(self._speak(send))
        self._speaking = speaking
        self._alarm = Alarm(self._look_at_the_time)
        try:
            await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
            self._report(listening)
            self._report(speaking)
            if self._closing is not None and not self._has_gone:
                await asyncio.wait({speaking}, timeout=CLEAN_UP)
                await self._say_goodbye(send)
        finally:
            self._alarm.stop()
            await self._clean_up(listening, speaking)

    async def _clean_up(self, listening: asyncio.Task[None], speaking: asyncio.Task[None]) -> None:
        """Forget every watch, and leave no task behind."""
        tasks = {speaking, *self._watches.close()}
        for task in tasks:
            task.cancel()
        if not speaking.done() or self._closing is None:
            listening.cancel()
        try:
            # After our own close the server still has its `websocket.disconnect` to deliver.
            await asyncio.wait({listening, *tasks}, timeout=CLEAN_UP)
        finally:
            listening.cancel()
            # What refers back to here would leave the socket to the garbage collector, which holds up all others when
            # it frees those of a minute at once.
            del self._speaking, self._alarm

    # Listening

    async def _listen(self, receive: Receive) -> None:
        heard = 0
        while (message := await receive())["type"] != "websocket.disconnect":
            heard += 1
            if heard % FRAMES_IN_A_TURN == 0:
                await asyncio.sleep(0)
            if self._closing is not None:
                continue
            text = message.get("text")
            size = frames.size(text) if text is not None else len(message.get("bytes") or b"")
            if not self._flow.heard(_time(), size):
                self.close(TOO_MANY)
                continue
            self._obey(frames.decode(text))
        self._has_gone = True

    def _obey(self, command: frames.Command | None) -> None:
        match command:
            case Watch():
                self._watches.begin(command)
            case Unwatch(job_id):
                self._watches.end(job_id)
            case Pong():
                self._flow.ponged()
                self._wake()
            case None:
                self._complain()

    def _complain(self) -> None:
        self._bad_messages += 1
        if self._bad_messages < BAD_MESSAGES:
            self.notify(frames.BAD_MESSAGE)
        else:
            self.close(PROTOCOL_ERROR)

    def _report(self, task: asyncio.Task[None]) -> None:
        """A task of the socket ended by an error we do not know: say so, and let the client come back."""
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A socket met an error it does not know", exc_info=error)
            self.close(INTERNAL_ERROR)

    # What the hub and the watches call

    def tell(self, job_id: str, frame: str) -> None:
        """Send this frame about the job, in place of any other about it that was not sent yet."""
        if job_id in self._unsent:
            metrics.FRAMES_REPLACED.add()
        self._unsent[job_id] = frame
        self._wake()

    def notify(self, frame: str) -> None:
        """Send this frame, which is about no job."""
        self._notices.append(frame)
        self._wake()

    def withdraw(self, job_id: str) -> bool:
        """Send nothing about the job that was not sent yet; whether there was anything."""
        return self._unsent.pop(job_id, None) is not None

    def ended(self, job_id: str) -> None:
        """The hub has forgotten the watch."""
        self._watches.ended(job_id)

    def denied(self, job_id: str) -> None:
        """A job was refused; whoever tries very many is sent away."""
        if quotas.deny(self._account, [job_id]):
            self.close(TOO_MANY)

    def dismiss(self, bearer: Bearer, *, is_expired: bool) -> None:
        """An access token is no longer good: end all watches by it."""
        self._watches.dismiss(bearer, is_expired=is_expired)

    def still_logged_in(self) -> bool:
        """Whether the login the socket was opened with holds; called in a thread."""
        now = time.monotonic()
        user = self._login.read_again()
        self.login_read_at = now
        if user is not None:
            self.user = user
        return user is not None

    def close(self, code: int) -> None:
        """Close the socket with this code; the first one counts."""
        if self._closing is None:
            self._closing = code
            metrics.SOCKETS_CLOSED.add(of=code)
        self._wake()

    def leave(self, code: int, after: float) -> None:
        """Tell the client to come back after so many seconds, and close with this code."""
        self._come_back_after = after
        self.close(code)

    # Speaking

    async def _speak(self, send: Send) -> None:
        """Say what is to be said until the socket closes or the client has gone."""
        time = asyncio.get_running_loop().time
        try:
            while self._closing is None and not self._has_gone:
                now = time()
                frame = self._next_frame(now)
                if frame is None:
                    await self._wait()
                    continue
                self._alarm.set(now + self._limits.slow)
                self._is_sending = True
                await send({"type": "websocket.send", "text": frame})
                self._is_sending = False
                self._flow.sent(frames.size(frame), now)
        except self._departure():
            return

    def _next_frame(self, now: float) -> str | None:
        """What to say now; None for nothing."""
        code = self._flow.verdict(now)
        if code is not None:
            self._come_back_after = random.uniform(0, 5) if code == MAX_AGE else None  # noqa: S311
            self.close(code)
            return None
        if self._notices:
            return self._notices.pop(0)
        if self._flow.needs_ping(now):
            self._flow.pinged(now)
            return frames.PING
        if self._unsent and not self._flow.is_choked:
            return self._unsent.pop(next(iter(self._unsent)))
        return None

    async def _wait(self) -> None:
        """Wait for news, or for the time to look again."""
        if self._closing is None:
            self._alarm.set(self._flow.next_at())
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    def _wake(self) -> None:
        """There is something to say, or to look at: nothing that comes while a frame is sent needs to be noted."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _look_at_the_time(self) -> None:
        if self._is_sending:
            self.close(TOO_SLOW)
            self._speaking.cancel()
        else:
            self._wake()

    async def _say_goodbye(self, send: Send) -> None:
        if self._has_gone:
            return
        try:
            async with asyncio.timeout(CLEAN_UP):
                while self._notices:
                    await send({"type": "websocket.send", "text": self._notices.pop(0)})
                if self._come_back_after is not None and self._closing is not None:
                    bye = frames.bye(self._closing, self._come_back_after)
                    await send({"type": "websocket.send", "text": bye})
                await send({"type": "websocket.close", "code": self._closing})
        except self._departure():  # TimeoutError is an OSError
            return

    def _departure(self) -> tuple[type[Exception], ...]:
        """What `send` raises when the client has gone: Uvicorn an OSError, Daphne its own; Uvicorn, once told, any."""
        autobahn = sys.modules.get("autobahn.exception")
        daphne = (autobahn.Disconnected,) if autobahn else ()
        return (OSError, *daphne, *((RuntimeError,) if self._has_gone else ()))


def _time() -> float:
    return asyncio.get_running_loop().time()
