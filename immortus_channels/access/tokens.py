"""Access tokens: who has one may follow some jobs as one user, for a while, without a session.

A token grants nothing that its user has not: with each use the user is read and asked the usual questions. It is signed
with `SECRET_KEY` (older ones with `SECRET_KEY_FALLBACKS`), and nothing about it is stored.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.core import signing
from django.core.exceptions import ValidationError

from immortus_channels.access import permissions
from immortus_channels.access.limits import limits
from immortus_channels.exceptions import ImmortusError
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.owner import named_by, owner_key
from immortus_channels.queues.results import identify

if TYPE_CHECKING:
    from immortus_channels.tracking.rules import User

PREFIX = "immortus."
"""Tells our tokens from the project's own, which may come in the same header."""
MAX_LENGTH = 4 * 1024
"""Characters; headers of 8 KiB are refused by many servers."""
GRACE = 25.0
"""Seconds after its end in which a token is still good for a new one, and its watches go on."""
_SALT = "immortus_channels.access_token"


class TokenExpired(ImmortusError):
    """The token was good once; its bearer may get another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token says. Times are seconds since 1970; `ends` is the end of all that it is refreshed to."""

    user_key: str | None
    login: str
    jobs: frozenset[str]
    expires: float
    ends: float

    def is_expired(self, *, grace: float = 0.0) -> bool:
        """Whether it ended more than `grace` seconds ago."""
        return time.time() >= self.expires + grace

    def user(self) -> User | None:
        """Its user as the database has them now; None when they were disabled, deleted or have another password."""
        if self.user_key is None:
            return permissions.anonymous()
        try:
            model, primary_key = named_by(self.user_key)
            user: Any = model._default_manager.filter(pk=primary_key).first()  # noqa: SLF001 - Django's name
        except (ValueError, TypeError, ValidationError):  # the keys of users are of another kind by now
            return None
        return user if user is not None and permissions.is_active(user) and self.login in _logins(user) else None

    def text(self) -> str:
        """The token, signed. Raises ValueError when it names too many jobs."""
        told = [self.user_key, self.login, sorted(self.jobs), round(self.expires, 3), round(self.ends, 3)]
        text = PREFIX + _signer().sign_object(told)
        if len(text) > MAX_LENGTH:
            msg = f"A token for {len(self.jobs)} jobs has {len(text)} characters; {MAX_LENGTH} is the most: name fewer."
            raise ValueError(msg)
        return text

    def refreshed(self, jobs: frozenset[str], user: User) -> Token:
        """The token that may take its place, for these of its jobs; `user` is its user."""
        login = "" if self.user_key is None else next(_logins(user))
        expires = min(time.time() + limits().token_life, self.ends)
        return replace(self, jobs=self.jobs & jobs, login=login, expires=expires)


def access_token(job: Any, user: object, *, life: float | None = None) -> str:
    """A token with which a page that has no session follows `job` as `user`, for `life` seconds (15 minutes).

    `job` is what `render_immortus` takes, or a list of such; `user` is `request.user`. An anonymous user's token is
    good for jobs that anybody may see who knows their ids. Whoever has a token is its user as far as these jobs go, so
    keep it out of addresses and logs.

    Raises TypeError for what is no job or no user, ValueError for more jobs than fit in 4096 characters.
    """
    jobs = job if isinstance(job, list | tuple | set | frozenset) else [job]
    key = owner_key(user)
    if key is None and (user is None or getattr(user, "is_authenticated", True)):
        msg = f"{user!r} is no user: give request.user, be it an anonymous one."
        raise TypeError(msg)
    numbers, now = limits(), time.time()
    ends = now + numbers.token_age
    return Token(
        user_key=key,
        login="" if key is None else next(_logins(user)),
        jobs=frozenset(identify(one)[0] for one in jobs),
        expires=min(now + (numbers.token_life if life is None else life), ends),
        ends=ends,
    ).text()


def is_ours(text: str) -> bool:
    """Whether it means to be one of these tokens."""
    return text.startswith(PREFIX)


def read(text: str) -> Token | None:
    """What the token says; None for whatever was not signed here for this purpose. Reads nothing and costs little."""
    if len(text) > MAX_LENGTH or not is_ours(text):
        return None
    try:
        user_key, login, jobs, expires, ends = _signer().unsign_object(text.removeprefix(PREFIX))
    except (signing.BadSignature, ValueError):
        return None
    known = frozenset(job for job in jobs if is_job_id(job))
    return Token(user_key=user_key, login=login, jobs=known, expires=expires, ends=ends)


def _signer() -> signing.Signer:
    # A separator that the header's grammar allows (RFC 6750, section 2.1).
    return signing.Signer(salt=_SALT, sep=".")


def _logins(user: Any) -> Iterator[str]:
    """What a user's password is known by, the newest first: sessions end when it changes, and so do tokens."""
    if not hasattr(user, "get_session_auth_hash"):
        yield ""
        return
    older: Sequence[str] = tuple(getattr(user, "get_session_auth_fallback_hash", tuple)())
    for known_by in (user.get_session_auth_hash(), *older):
        yield hashlib.sha256(known_by.encode()).hexdigest()[:16]
