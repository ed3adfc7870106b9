"""The text frames of the WebSocket protocol `immortus.v1`: what a client may say, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.job import State, dump
from immortus_channels.jobs.strict_json import Bounds, loads
from immortus_channels.push.messages import Push

SUBPROTOCOL = "immortus.v1"
MAX_FRAME = 16 * 1024
"""Bytes of a frame from the client."""
MAX_JOBS = 100
"""Jobs one socket may watch."""
MAX_VERSION = 2**53
BOUNDS = Bounds(size=MAX_FRAME, depth=8, keys=64, largest=MAX_VERSION)

# From the client


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell me of this job; `version` is what I have of it, `token` says who I am if the socket does not."""

    job_id: str
    version: int
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Tell me no more of this job."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Pong:
    """I have read everything up to your ping."""


Command = Watch | Unwatch | Pong

_PONG = '{"type":"pong"}'
"""As browsers write it: nearly all that thousands of quiet sockets send."""


def decode(text: object) -> Command | None:
    """The command in a frame; None when the frame is not one of the protocol. Never raises."""
    if text == _PONG:
        return Pong()
    try:
        message = loads(text, BOUNDS)
    except ValueError:
        return None
    match message:
        case {"type": "pong"}:
            return Pong()
        case {"type": "watch", "job_id": job_id} if is_job_id(job_id):
            return _watch(job_id, message.get("version", 0), message.get("token"))
        case {"type": "unwatch", "job_id": job_id} if is_job_id(job_id):
            return Unwatch(job_id)
    return None


def _watch(job_id: str, version: object, token: object) -> Watch | None:
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < MAX_VERSION:
        return None
    return Watch(job_id, version, token) if token is None or isinstance(token, str) else None


def size(text: str) -> int:
    """Bytes of the text in UTF-8; lone surrogates count too."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


# To the client


class Document:
    """One version of a job, encoded once for all sockets."""

    def __init__(self, push: Push) -> None:
        self.version = push.version
        self.attempt = push.attempt
        self.is_over = push.is_over
        self.is_queued = push.state is State.ENQUEUED
        self.is_last = push.is_last
        self._push = push

    @cached_property
    def frame(self) -> str:
        """The frame that says what happened."""
        return self._encode(self._push.event)

    @cached_property
    def snapshot(self) -> str:
        """The frame that answers a watch."""
        return self._encode("snapshot")

    def _encode(self, event: str) -> str:
        return f'{{"type":"job","event":{dump(event)},"job":{self._push.text}}}'


PING = dump({"type": "ping"})
UNKNOWN = "There is no such job, or you are not allowed to see it."
EXPIRED = "This access token has expired."
TOKEN_EXPIRED = dump({"type": "error", "code": "token_expired", "message": EXPIRED})
"""Ahead of the end: watches by the token go on for a while."""
BAD_MESSAGE = dump({"type": "error", "code": "bad_message", "message": "This is not a message of immortus.v1."})


def hello(ping: float) -> str:
    """The first frame; the server pings every `ping` seconds."""
    return dump({"type": "hello", "ping_ms": round(ping * 1000), "max_jobs": MAX_JOBS})


def current(job_id: str, version: int) -> str:
    """The client has the newest version already."""
    return dump({"type": "current", "job_id": job_id, "version": version})


def unknown_job(job_id: str, *, authenticated: bool) -> str:
    """There is no such job, or it is not for this user: nobody can tell which."""
    return _error("unknown_job", UNKNOWN, job_id, authenticated=authenticated)


def strategy_error(job_id: str, *, authenticated: bool) -> str:
    """The job's state cannot be told, by a mistake on the server."""
    return _error("strategy_error", "The state of this job is not available.", job_id, authenticated=authenticated)


def too_many_jobs(job_id: str, *, authenticated: bool) -> str:
    """This socket watches as many jobs as it may."""
    return _error("too_many_jobs", f"One socket watches {MAX_JOBS} jobs at most.", job_id, authenticated=authenticated)


def token_expired(job_id: str) -> str:
    """The watch has ended with the access token it was asked for by."""
    return _error("token_expired", EXPIRED, job_id, authenticated=False)


def bye(code: int, after: float) -> str:
    """The server is about to close with `code`; come back after so many seconds."""
    return dump({"type": "bye", "code": code, "after_ms": round(after * 1000)})


def _error(code: str, message: str, job_id: str, *, authenticated: bool) -> str:
    return dump({"type": "error", "code": code, "message": message, "job_id": job_id, "authenticated": authenticated})
