"""The caller of an HTTP request: by a session, or by an access token in the header `Authorization`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from django.http import HttpRequest

from immortus_channels.access import permissions, quotas, tokens, visitors
from immortus_channels.access.tokens import Token, TokenExpired
from immortus_channels.tracking.rules import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user, the jobs they may ask for here (None: any), and the account that their requests count on."""

    user: User
    account: str | None
    jobs: frozenset[str] | None = None
    token: Token | None = None

    def may_ask_for(self, job_id: str) -> bool:
        """Return whether the token, if any, names the job."""
        return self.jobs is None or job_id in self.jobs


def caller_of(request: HttpRequest, *, grace: float = 0.0) -> Caller:
    """Return the caller of a request.

    The bearer of a token acts as its user, whatever the cookies say. A token that is not valid makes an anonymous
    caller who sees nothing; a token that is not ours is the project's own affair. Raises TokenExpired for a token that
    ended more than `grace` seconds ago, and StoreUnavailable when the database cannot read the session or the user.
    """
    text = bearer_text(request)
    return of_session(request) if text is None else _of_token(request, text, grace)


@permissions.needing_database
def _of_token(request: HttpRequest, text: str, grace: float) -> Caller:
    token = tokens.read(text)
    if token is not None and token.is_expired(grace=grace):
        raise TokenExpired
    user = None if token is None else token.user()
    address = partial(visitors.of_request, request)
    if token is None or user is None:
        visitor = permissions.anonymous()
        return Caller(user=visitor, account=quotas.key_of(visitor, None, address), jobs=frozenset())
    return Caller(user=user, account=quotas.key_of(user, None, address), jobs=token.jobs, token=token)


@permissions.needing_database
def of_session(request: HttpRequest) -> Caller:
    """Return the caller by session, who may be anonymous. Raises StoreUnavailable when the database cannot read it."""
    user = permissions.user_of(request)
    session = getattr(request, "session", None)
    return Caller(user=user, account=quotas.key_of(user, session, partial(visitors.of_request, request)))


def bearer_text(request: HttpRequest) -> str | None:
    """Return the token of ours that the request sends, valid or not (RFC 6750, section 2.1); None if it sends none."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    text = text.strip()
    return text if scheme.lower() == "bearer" and tokens.is_ours(text) else None
