"""What travels between processes: a push, which is one version of a job, and a revocation of permissions.

Any client of the channel layer can write anything, so a message that does not look like one of these is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from immortus_channels.jobs.ids import is_key
from immortus_channels.jobs.job import MAX_DEPTH, Job, State
from immortus_channels.jobs.strict_json import Bounds, loads
from immortus_channels.jobs.versions import is_believable
from immortus_channels.keys import MAX_KEY, name_in
from immortus_channels.logs import logger

MESSAGE_TYPE = "immortus.job"
MAX_TEXT = 64 * 1024
"""Bytes; twice a document's limit. A longer text did not come from this package."""
BOUNDS = Bounds(size=MAX_TEXT, depth=MAX_DEPTH)

EVERYBODY = ""
"""In place of a user's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One version of a job on its way to its watchers; `text` is its document."""

    job_id: str
    version: int
    event: str
    state: State
    text: str
    attempt: int = 1

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.state.is_over

    @property
    def is_last(self) -> bool:
        """Whether nothing can follow: a lost job is over but may be revived."""
        return self.is_over and self.state is not State.LOST

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the push of a job in its present state."""
        return cls(
            job_id=job.job_id,
            version=job.version,
            event=job.event,
            state=job.state,
            text=job.text,
            attempt=job.attempt,
        )

    def to_message(self) -> dict[str, object]:
        """Return the channel layer message."""
        return {
            "type": MESSAGE_TYPE,
            "job_id": self.job_id,
            "version": self.version,
            "event": self.event,
            "over": self.is_over,
            "text": self.text,
        }

    @classmethod
    def from_message(cls, message: object) -> Self | None:
        """Return the push in a channel layer message; None if it is not one of ours.

        Any client of the layer can write anything, and browsers get the text unchanged: so the text must be the
        document that the message claims.
        """
        match message:
            case {"type": "immortus.job", "job_id": job_id, "version": version, "event": event, "text": text}:
                document = _document(text)
            case _:
                return None
        claimed = (document.get("job_id"), document.get("version"))
        if not is_key(job_id):
            return None
        state, attempt = document.get("state"), document.get("attempt")
        if not (isinstance(text, str) and isinstance(event, str) and event.isascii() and isinstance(state, str)):
            return None
        if claimed != (name_in(job_id), version) or state not in _STATES:
            return None
        if type(version) is not int or type(attempt) is not int or not _is_of_now(version):
            return None
        return cls(job_id=job_id, version=version, event=event, state=_STATES[state], text=text, attempt=attempt)


def _is_of_now(version: int) -> bool:
    """Return whether the version may be shown: one far ahead would hide all true ones until the clock has caught up."""
    if is_believable(version):
        return True
    logger.warning(
        "The hub drops a push from the channel layer: its version is far ahead of this host's clock. Either the clocks "
        "of the store and of this host differ: synchronise them. Or a stranger writes to the layer: keep them out."
    )
    return False


_STATES: Mapping[str, State] = {state.value: state for state in State}


def _document(text: object) -> Mapping[str, object]:
    try:
        document = loads(text, BOUNDS)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """The user, or the job, whose permissions may have been revoked."""

    user: str | None = None
    job_id: str | None = None

    def to_message(self) -> dict[str, object]:
        """Return the channel layer message."""
        named = {"user": self.user, "job_id": self.job_id}
        return {"type": "immortus.access", **{key: value for key, value in named.items() if value is not None}}

    @classmethod
    def from_message(cls, message: object) -> Self | None:
        """Return the revocation in a channel layer message; None if it is not one of ours."""
        match message:
            case {"type": "immortus.access", "job_id": job_id} if is_key(job_id):
                return cls(job_id=job_id)
            case {"type": "immortus.access", "user": str(user)} if len(user) <= MAX_KEY:
                return cls(user=user)
        return None
