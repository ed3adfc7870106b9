"""The user who opened a socket, and whether their login still holds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from django.contrib import auth

from immortus_channels.access import permissions
from immortus_channels.jobs.owner import is_of_auth_user_model, owner_key
from immortus_channels.logs import logger
from immortus_channels.tracking.rules import User


class Login:
    """The login that a socket was opened with: a session, or a user that a middleware found another way."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        if scope.get("user") is None:
            _warn()
        self.user: User = scope.get("user") or permissions.anonymous()
        session: Any = scope.get("session")
        self._session = session
        # A middleware that read the login from the session has loaded it. Loading it here would block the event loop.
        is_loaded = session is not None and session.accessed and auth.SESSION_KEY in session
        self._is_by_session = is_loaded and is_of_auth_user_model(self.user)

    def read_again(self) -> User | None:
        """Return the user as stored now; None if they logged out, were disabled, or another user has logged in."""
        if not self.user.is_authenticated:
            return self.user
        now = self._from_session() if self._is_by_session else self._from_database()
        return now if now is not None and owner_key(now) == owner_key(self.user) else None

    def _from_session(self) -> User:
        """Return the user that Django finds in the stored session; use a copy, because a socket must not change it."""
        stored = self._session.__class__(self._session.session_key).load()
        return auth.get_user(SimpleNamespace(session=_Copy(stored)))  # type: ignore[arg-type] # Django reads nothing else

    def _from_database(self) -> User | None:
        # Not `type()`: Channels hands out a lazy object.
        users = getattr(self.user.__class__, "_default_manager", None)
        user = self.user if users is None else users.filter(pk=self.user.pk).first()
        return user if user is not None and permissions.is_active(user) else None


@lru_cache(maxsize=1)
def _warn() -> None:
    logger.warning(
        "Sockets come without a user, so all are anonymous: serve immortus_channels.routing.websocket_application "
        "or wrap your URLRouter in channels.auth.AuthMiddlewareStack."
    )


class _Copy(dict[str, Any]):
    """The content of a session, without a store behind it."""

    def flush(self) -> None:
        """Empty the copy; there is nothing to delete."""
        self.clear()

    def cycle_key(self) -> None:
        """Do nothing: a copy has no key."""
