"""Access tokens on a socket: each is a watcher of its own, because its user need not be the socket's user."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection

from immortus_channels.access import tokens
from immortus_channels.access.tokens import GRACE, Token, TokenExpired
from immortus_channels.tracking.rules import User
from immortus_channels.websocket import frames
from immortus_channels.websocket.hub.watched import Watcher

Dismiss = Callable[["Bearer", bool], None]
"""Ends all watches by a token; the flag says whether it has expired."""


class Bearer:
    """The user of a token: a watcher until the token expires, and for `GRACE` seconds more."""

    def __init__(self, token: Token, socket: Watcher, notify: Callable[[str], None], dismiss: Dismiss) -> None:
        """`socket` sends what concerns one job, `notify` what concerns the whole socket."""
        self.user: User | None = None
        self.login_read_at = -math.inf
        self.tell, self.withdraw = socket.tell, socket.withdraw
        self.ended, self.denied = socket.ended, socket.denied
        self._token = token
        self._dismiss = dismiss
        loop = asyncio.get_running_loop()
        left = token.expires - time.time()
        self._timers = [
            loop.call_later(left, notify, frames.TOKEN_EXPIRED),
            loop.call_later(left + GRACE, dismiss, self, True),  # noqa: FBT003 - a timer passes no keywords
        ]

    def covers(self, job_id: str) -> bool:
        """Return whether the token was made for this job."""
        return job_id in self._token.jobs

    @property
    def is_expired(self) -> bool:
        """Whether the token has expired, so that no watch may begin by it."""
        return self._token.is_expired()

    def still_logged_in(self) -> bool:
        """Read again, in a thread, whether the token and its user are still valid."""
        now = time.monotonic()
        self.user = None if self._token.is_expired(grace=GRACE) else self._token.user()
        self.login_read_at = now
        return self.user is not None

    def close(self, code: int) -> None:
        """End the watches by this token: it has expired, or its user has changed. The socket stays open."""
        self._dismiss(self, self.is_expired)

    def forget(self) -> None:
        """Stop the timers: no watch uses the token."""
        for timer in self._timers:
            timer.cancel()


class Bearers:
    """The tokens of one socket, by their text."""

    def __init__(self, make: Callable[[Token], Bearer]) -> None:
        """`make` returns the bearer of a new token."""
        self._known: dict[str, Bearer] = {}
        self._make = make

    def find(self, text: str, job_id: str) -> Bearer | None:
        """Return the token's watcher for this job; None if the token is invalid or not for it. Raises TokenExpired."""
        bearer = self._known.get(text) or self._read(text)
        if bearer is not None and bearer.is_expired:
            raise TokenExpired
        return bearer if bearer is not None and bearer.covers(job_id) else None

    def _read(self, text: str) -> Bearer | None:
        token = tokens.read(text)
        if token is None:
            return None
        if token.is_expired():
            raise TokenExpired
        self._known[text] = self._make(token)
        return self._known[text]

    def keep(self, used: Collection[object]) -> None:
        """Forget the tokens that are not among the watchers in use."""
        for text, bearer in tuple(self._known.items()):
            if bearer not in used:
                bearer.forget()
                del self._known[text]

    def close(self) -> None:
        """Forget all tokens, and drop the reference to the socket."""
        self.keep(())
        del self._make
