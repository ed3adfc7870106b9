"""The text frames of the WebSocket protocol `immortus.v1`: what a client may send, and what the server answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from immortus_channels import protocol
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.job import State, dump
from immortus_channels.jobs.strict_json import Bounds, loads
from immortus_channels.keys import name_in
from immortus_channels.push.messages import Push

SUBPROTOCOL = "immortus.v1"
MAX_FRAME = 16 * 1024
"""The most bytes that a frame from the client may have."""
MAX_VERSION = 2**53
BOUNDS = Bounds(size=MAX_FRAME, depth=8, keys=64, largest=MAX_VERSION)

# From the client


@dataclass(frozen=True, slots=True)
class Watch:
    """Asks for this job, of which the client has `version`; `token` names the user where the socket does not."""

    job_id: str
    version: int
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Asks for no more news of this job."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Pong:
    """Confirms that the client has read everything up to the ping."""


Command = Watch | Unwatch | Pong

_PONG = '{"type":"pong"}'
"""The frame as browsers write it, compared first: quiet sockets send hardly anything else."""


def decode(text: object) -> Command | None:
    """Return the command in a frame; None when the frame does not belong to the protocol. Never raises."""
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
    """Return how many bytes the text has in UTF-8; unpaired surrogates count too."""
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
        """The frame that names the event."""
        return self._encode(self._push.event)

    @cached_property
    def snapshot(self) -> str:
        """The frame that answers a watch."""
        return self._encode("snapshot")

    def _encode(self, event: str) -> str:
        return f'{{"type":"job","event":{dump(event)},"job":{self._push.text}}}'


PING = dump({"type": "ping"})
TOKEN_EXPIRED = dump({"type": "error", "code": "token_expired", "message": protocol.TOKEN_EXPIRED})
"""Sent when the token expires; the watches by it continue for a while."""
BAD_MESSAGE = dump({"type": "error", "code": "bad_message", "message": "This is not a message of immortus.v1."})


def hello(ping: float) -> str:
    """Make the first frame; the server pings every `ping` seconds."""
    return dump({"type": "hello", "ping_ms": round(ping * 1000), "max_jobs": protocol.MAX_JOBS})


def current(job_id: str, version: int) -> str:
    """Say that the client has the newest version already."""
    return dump({"type": "current", "job_id": name_in(job_id), "version": version})


def unknown_job(job_id: str, *, authenticated: bool) -> str:
    """Say that the job is unknown or not for this user, without saying which."""
    return _error("unknown_job", protocol.UNKNOWN_JOB, job_id, authenticated=authenticated)


def strategy_error(job_id: str, *, authenticated: bool) -> str:
    """Say that an error on the server keeps the job's state from being read."""
    return _error("strategy_error", protocol.STRATEGY_ERROR, job_id, authenticated=authenticated)


def too_many_jobs(job_id: str, *, authenticated: bool) -> str:
    """Say that the socket watches as many jobs as it may."""
    message = f"One socket watches {protocol.MAX_JOBS} jobs at most."
    return _error("too_many_jobs", message, job_id, authenticated=authenticated)


def token_expired(job_id: str) -> str:
    """Say that the watch has ended, because its access token has expired."""
    return _error("token_expired", protocol.TOKEN_EXPIRED, job_id, authenticated=False)


def bye(code: int, after: float) -> str:
    """Say that the server is about to close with `code`, and that the client should come back after so many seconds."""
    return dump({"type": "bye", "code": code, "after_ms": round(after * 1000)})


def _error(code: str, message: str, job_id: str, *, authenticated: bool) -> str:
    about = {"job_id": name_in(job_id), "authenticated": authenticated}
    return dump({"type": "error", "code": code, "message": message, **about})
