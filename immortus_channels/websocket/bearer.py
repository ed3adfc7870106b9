"""Access tokens on a socket: each is a watcher of its own, as its user need not be the socket's."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from immortus_channels.access import tokens
from immortus_channels.access.tokens import GRACE, Token, TokenExpired
from immortus_channels.websocket import frames

if TYPE_CHECKING:
    from immortus_channels.tracking.rules import User


class Socket(Protocol):
    """What a token needs of the socket it came by."""

    def tell(self, job_id: str, frame: str) -> None:
        """Send this frame about the job."""
        ...

    def withdraw(self, job_id: str) -> bool:
        """Send nothing about the job that was not sent yet; whether there was anything."""
        ...

    def notify(self, frame: str) -> None:
        """Send this frame, which is about no job."""
        ...

    def ended(self, job_id: str) -> None:
        """The hub has forgotten the watch."""
        ...

    def denied(self, job_id: str) -> None:
        """The job is unknown, or not for this watcher to see."""
        ...

    def dismiss(self, bearer: Bearer, *, is_expired: bool) -> None:
        """End all watches by this token."""
        ...


class Bearer:
    """Whoever watches by a token, until it ends and `GRACE` seconds longer."""

    def __init__(self, socket: Socket, token: Token) -> None:
        self.user: User | None = None
        self.login_read_at = -math.inf
        self._socket = socket
        self._token = token
        loop = asyncio.get_running_loop()
        left = token.expires - time.time()
        self._timers = [
            loop.call_later(left, socket.notify, frames.TOKEN_EXPIRED),
            loop.call_later(left + GRACE, self._expire),
        ]

    def covers(self, job_id: str) -> bool:
        """Whether the token was made for this job."""
        return job_id in self._token.jobs

    @property
    def is_expired(self) -> bool:
        """Whether no watch may begin by it any more."""
        return self._token.is_expired()

    def tell(self, job_id: str, frame: str) -> None:
        """Send this frame about the job."""
        self._socket.tell(job_id, frame)

    def withdraw(self, job_id: str) -> bool:
        """Send nothing about the job that was not sent yet; whether there was anything."""
        return self._socket.withdraw(job_id)

    def ended(self, job_id: str) -> None:
        """The hub has forgotten the watch."""
        self._socket.ended(job_id)

    def denied(self, job_id: str) -> None:
        """The job is unknown, or not for this user."""
        self._socket.denied(job_id)

    def still_logged_in(self) -> bool:
        """Whether the token and its user are still good; called in a thread."""
        now = time.monotonic()
        self.user = None if self._token.is_expired(grace=GRACE) else self._token.user()
        self.login_read_at = now
        return self.user is not None

    def close(self, code: int) -> None:
        """The user is no longer what they were, or the token has ended: their watches end."""
        self._socket.dismiss(self, is_expired=self.is_expired)

    def forget(self) -> None:
        """Nobody watches by the token any more."""
        for timer in self._timers:
            timer.cancel()

    def _expire(self) -> None:
        self._socket.dismiss(self, is_expired=True)


class Bearers:
    """The tokens of one socket, by their text."""

    def __init__(self) -> None:
        self._known: dict[str, Bearer] = {}

    def find(self, socket: Socket, text: str, job_id: str) -> Bearer | None:
        """Who may ask for the job by this token; None for nobody. Raises TokenExpired."""
        bearer = self._known.get(text) or self._read(socket, text)
        if bearer is not None and bearer.is_expired:
            raise TokenExpired
        return bearer if bearer is not None and bearer.covers(job_id) else None

    def _read(self, socket: Socket, text: str) -> Bearer | None:
        token = tokens.read(text)
        if token is None:
            return None
        if token.is_expired():
            raise TokenExpired
        self._known[text] = Bearer(socket, token)
        return self._known[text]

    def keep(self, used: Collection[object]) -> None:
        """Forget the tokens that nothing is watched by."""
        for text, bearer in tuple(self._known.items()):
            if bearer not in used:
                bearer.forget()
                del self._known[text]
