"""The classes of jobs that this process has just sent: what a queue returns then knows only an id."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from immortus_channels.loading import Later
from immortus_channels.recent import Recent

if TYPE_CHECKING:
    from immortus_channels.jobs import ids
else:
    ids = Later("immortus_channels.jobs.ids")

_sent: Recent[str, str] = Recent()
untracked: deque[tuple[object, str]] = deque(maxlen=1000)
"""The ids and names of tasks that this process has just sent and that are no jobs; a deque takes them at no cost."""


def remember(job_id: str, job_class: str) -> None:
    """Remember the class of a job that this process has just sent: a queue's result knows only its id."""
    _sent[job_id] = job_class


def class_of(job_id: str) -> str | None:
    """Return the class that `remember` has for a job, if this process sent the job recently."""
    lately = reversed(untracked.copy())  # other threads send
    return _sent.get(job_id) or next((name for sent, name in lately if (ids.text_of(sent) or sent) == job_id), None)
