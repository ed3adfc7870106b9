"""The WebSocket: one consumer per socket. It speaks `immortus.v1`, and the hub knows the jobs."""

from __future__ import annotations

import asyncio
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
from immortus_channels.logs import logger
from immortus_channels.websocket import frames, origins
from immortus_channels.websocket.flow import TOO_MANY
from immortus_channels.websocket.frames import Pong, Unwatch, Watch
from immortus_channels.websocket.login import Login
from immortus_channels.websocket.namespace import NoNamespace, namespace_of
from immortus_channels.websocket.outbox import CLEAN_UP, Outbox, Send, departures
from immortus_channels.websocket.shutdown import get_drain
from immortus_channels.websocket.watches import Watches

Receive = Callable[[], Awaitable[dict[str, Any]]]

PROTOCOL_ERROR = 4500
INTERNAL_ERROR = 4011
BAD_MESSAGES = 10
FRAMES_IN_A_TURN = 16
"""Frames taken from one socket before all others get their turn: during a flood, `receive` returns without waiting."""
HANDSHAKE = 1.0
"""Seconds before the consumer's call within which a middleware may have read the login."""


class JobConsumer(AsyncConsumer):  # type: ignore[misc] # Channels has no types
    """Watches jobs for one socket.

    It needs no channel of its own, and brings its own loop: Channels' loop passes each message through one global
    thread. One task listens and never waits; another sends what the outbox holds, of each job the newest frame only.
    """

    channel_layer_alias = None

    def __init__(self, limits: Limits | None = None) -> None:
        self.outbox = Outbox(limits or present_limits())
        # The hub calls these as a watcher's; bound, because a push calls `tell` for each socket.
        self.tell, self.withdraw, self.close = self.outbox.tell, self.outbox.withdraw, self.outbox.close
        self.namespace = ""
        self._watches = Watches(self, self.outbox.notify, self._report)
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
        try:
            self.namespace = namespace_of(scope)
        except NoNamespace:
            await send({"type": "websocket.close"})
            return
        self._login = Login(scope, self.namespace)
        self.user = self._login.user
        self.login_read_at = time.monotonic() - HANDSHAKE
        address = partial(visitors.of_scope, scope)
        self._account = quotas.key_of(self.user, scope.get("session"), address, self.namespace)
        subprotocol = frames.SUBPROTOCOL if frames.SUBPROTOCOL in scope.get("subprotocols", ()) else None
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
        except departures():
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
        job_id = scope.get("url_route", {}).get("kwargs", {}).get("job_id")
        if is_job_id(job_id):
            self._watches.begin(Watch(job_id, 0))
        with get_drain().holding(self.outbox):
            await self._converse(receive, send)

    async def _converse(self, receive: Receive, send: Send) -> None:
        outbox = self.outbox
        listening = asyncio.create_task(self._listen(receive))
        sending = outbox.start(send)
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            self._report(listening)
            self._report(sending)
            if outbox.closing is not None and not outbox.has_gone:
                await asyncio.wait({sending}, timeout=CLEAN_UP)
                await outbox.say_goodbye(send)
        finally:
            outbox.stop()
            await self._clean_up(listening, sending)

    async def _clean_up(self, listening: asyncio.Task[None], sending: asyncio.Task[None]) -> None:
        """Forget every watch, and leave no task behind."""
        tasks = {sending, *self._watches.close()}
        for task in tasks:
            task.cancel()
        if not sending.done() or self.outbox.closing is None:
            listening.cancel()
        try:
            # After our own close the server still has its `websocket.disconnect` to deliver.
            await asyncio.wait({listening, *tasks}, timeout=CLEAN_UP)
        finally:
            listening.cancel()
            self.outbox.release()

    # Listening

    async def _listen(self, receive: Receive) -> None:
        outbox, now = self.outbox, asyncio.get_running_loop().time
        heard = 0
        while (message := await receive())["type"] != "websocket.disconnect":
            heard += 1
            if heard % FRAMES_IN_A_TURN == 0:
                await asyncio.sleep(0)
            if outbox.closing is not None:
                continue
            text = message.get("text")
            size = frames.size(text) if text is not None else len(message.get("bytes") or b"")
            if not outbox.flow.heard(now(), size):
                outbox.close(TOO_MANY)
                continue
            self._obey(frames.decode(text))
        outbox.has_gone = True

    def _obey(self, command: frames.Command | None) -> None:
        match command:
            case Watch():
                self._watches.begin(command)
            case Unwatch(job_id):
                self._watches.end(job_id)
            case Pong():
                self.outbox.flow.ponged()
                self.outbox.wake()
            case None:
                self._complain()

    def _complain(self) -> None:
        self._bad_messages += 1
        if self._bad_messages < BAD_MESSAGES:
            self.outbox.notify(frames.BAD_MESSAGE)
        else:
            self.outbox.close(PROTOCOL_ERROR)

    def _report(self, task: asyncio.Task[None]) -> None:
        """Log an unexpected error that ended a task of the socket, and close, so that the client comes back."""
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A socket met an error it does not know", exc_info=error)
            self.outbox.close(INTERNAL_ERROR)

    # What else the hub calls

    def ended(self, job_id: str) -> None:
        """Note that the hub has ended the watch."""
        self._watches.ended(job_id)

    def denied(self, job_id: str) -> None:
        """Count a refused job, and close the socket of a client that tries very many."""
        if quotas.deny(self._account, [job_id]):
            self.outbox.close(TOO_MANY)

    def still_logged_in(self) -> bool:
        """Read again, in a thread, whether the login that the socket was opened with holds."""
        now = time.monotonic()
        user = self._login.read_again()
        self.login_read_at = now
        if user is not None:
            self.user = user
        return user is not None
