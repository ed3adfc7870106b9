"""Access tokens: the bearer may follow some jobs as one user, for a while, without a session.

A token grants nothing that its user lacks: each use reads the user and checks the usual permissions. It is signed with
`SECRET_KEY` (older ones with `SECRET_KEY_FALLBACKS`), and the server stores nothing about it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core import signing
from django.core.exceptions import ValidationError

from immortus_channels.access import permissions
from immortus_channels.access.limits import limits
from immortus_channels.exceptions import ImmortusError
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.ids import is_key
from immortus_channels.jobs.owner import key_here, named_by
from immortus_channels.keys import namespace_of
from immortus_channels.queues.results import identify
from immortus_channels.tracking.rules import User

PREFIX = "immortus."
"""Distinguishes our tokens from the project's own, which may come in the same header."""
MAX_LENGTH = 4 * 1024
"""Characters; many servers refuse headers of 8 KiB."""
GRACE = 25.0
"""Seconds after its end in which a token can still be refreshed, and its watches continue."""
_SALT = "immortus_channels.access_token"


class TokenExpired(ImmortusError):
    """The token was valid once; its bearer may get another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The content of a token: the keys of its user and its jobs, and when it ends.

    Times are seconds since 1970; `ends` is the end of all its refreshed successors.
    """

    user_key: str | None
    login: str
    jobs: frozenset[str]
    expires: float
    ends: float

    def is_expired(self, *, grace: float = 0.0) -> bool:
        """Return whether it ended more than `grace` seconds ago."""
        return time.time() >= self.expires + grace

    def user(self) -> User | None:
        """Return its user as the database has them now; None if disabled, deleted or with another password."""
        if self.user_key is None:
            return permissions.anonymous()
        try:
            model, primary_key = named_by(self.user_key)
            with namespaces.inside_of(self.user_key):
                user: Any = model._default_manager.filter(pk=primary_key).first()  # noqa: SLF001 - Django's name
        except (ValueError, TypeError, ValidationError):  # the primary key of users has changed its type
            return None
        return user if user is not None and permissions.is_active(user) and self.login in _logins(user) else None

    def jobs_in(self, namespace: str) -> frozenset[str]:
        """Return those of its jobs that are in this namespace."""
        return frozenset(key for key in self.jobs if namespace_of(key) == namespace)

    def text(self) -> str:
        """Return the signed token. Raises ValueError when it names too many jobs."""
        content = [self.user_key, self.login, sorted(self.jobs), round(self.expires, 3), round(self.ends, 3)]
        text = PREFIX + _signer().sign_object(content)
        if len(text) > MAX_LENGTH:
            msg = f"A token for {len(self.jobs)} jobs has {len(text)} characters; {MAX_LENGTH} is the most: name fewer."
            raise ValueError(msg)
        return text

    def successor(self, jobs: frozenset[str], user: User) -> Token:
        """Return the token that may take its place, for these of its jobs; `user` is its user."""
        login = "" if self.user_key is None else next(_logins(user))
        expires = min(time.time() + limits().token_life, self.ends)
        return replace(self, jobs=self.jobs & jobs, login=login, expires=expires)


def access_token(job: Any, user: object, *, life: float | None = None) -> str:
    """Return a token with which a page without a session follows `job` as `user`, for `life` seconds (15 minutes).

    `job` is what `render_immortus` takes, or a list of such; `user` is `request.user`. An anonymous user's token is
    valid for jobs that are visible to all who know their ids. The bearer acts as the token's user for these jobs, so
    keep it out of URLs and logs.

    Raises TypeError for a `job`, `user` or `life` that is not one, ValueError for no jobs, for more than fit in 4096
    characters, and for a `life` that is not above 0.
    """
    jobs = job if isinstance(job, list | tuple | set | frozenset) else [job]
    if not jobs:
        msg = f"access_token({job!r}, …): give at least one job."
        raise ValueError(msg)
    _refuse_life(life)
    key = key_here(user)
    if key is None and (user is None or getattr(user, "is_authenticated", True)):
        msg = f"{user!r} is not a user: give request.user, which may be anonymous."
        raise TypeError(msg)
    numbers, now = limits(), time.time()
    ends = now + numbers.token_age
    return Token(
        user_key=key,
        login="" if key is None else next(_logins(user)),
        jobs=frozenset(namespaces.here(identify(one)[0]) for one in jobs),
        expires=min(now + (numbers.token_life if life is None else life), ends),
        ends=ends,
    ).text()


def _refuse_life(life: object) -> None:
    msg = f"life={life!r}: give seconds above 0, such as 900, or None for the usual 15 minutes."
    if isinstance(life, bool) or not isinstance(life, int | float | None):
        raise TypeError(msg)
    if life is not None and not life > 0:
        raise ValueError(msg)


def is_ours(text: str) -> bool:
    """Return whether it claims to be one of these tokens."""
    return text.startswith(PREFIX)


def read(text: str) -> Token | None:
    """Return the content of the token; None unless it was signed here as one. Queries nothing and costs little."""
    if len(text) > MAX_LENGTH or not is_ours(text):
        return None
    try:
        user_key, login, jobs, expires, ends = _signer().unsign_object(text.removeprefix(PREFIX))
    except (signing.BadSignature, ValueError):
        return None
    known = frozenset(job for job in jobs if is_key(job))
    return Token(user_key=user_key, login=login, jobs=known, expires=expires, ends=ends)


def _signer() -> signing.Signer:
    # A separator that the header's grammar allows (RFC 6750, section 2.1).
    return signing.Signer(salt=_SALT, sep=".")


def _logins(user: Any) -> Iterator[str]:
    """Yield hashes of a user's password, the newest first: sessions end when it changes, and so do tokens."""
    if not hasattr(user, "get_session_auth_hash"):
        yield ""
        return
    older: Sequence[str] = tuple(getattr(user, "get_session_auth_fallback_hash", tuple)())
    for auth_hash in (user.get_session_auth_hash(), *older):
        yield hashlib.sha256(auth_hash.encode()).hexdigest()[:16]
