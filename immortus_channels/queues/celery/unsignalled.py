"""Ends of Celery tasks that have no signal of their own: what `task_postrun` alone can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from celery import states
from celery.exceptions import Reject

from immortus_channels.events import Cancelled, Event, Failed, Finished, Requeued, Retrying
from immortus_channels.queues.celery import written
from immortus_channels.queues.celery.canvas import REPLACED
from immortus_channels.queues.celery.outcomes import due


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsignalled:
    """How a run ended: the kind of event, what that says, and whether what was to come after the task never will."""

    kind: type[Event]
    fields: Mapping[str, Any] = field(default_factory=dict)
    ends_chain: bool = False


def ignored(request: Any) -> Unsignalled:
    """The task raised `Ignore`: it has sent others in its place, or what it wrote into the result backend decides."""
    if getattr(request, REPLACED, False):
        return Unsignalled(kind=Requeued)
    match written.state_of(request):
        case states.RETRY:
            return _retried(written.retry_of(request))
        case states.FAILURE:
            return Unsignalled(kind=Failed, ends_chain=True)
        case states.REVOKED:
            return Unsignalled(kind=Cancelled, ends_chain=True)
        case _:
            return Unsignalled(kind=Finished, ends_chain=True)


def _retried(eta: str | None) -> Unsignalled:
    """It is to be run again: by the retry that it sent, or by somebody of whom nothing is known here."""
    if eta is None:
        return Unsignalled(kind=Retrying, fields={"is_sent": False})
    return Unsignalled(kind=Retrying, fields={"eta": due(datetime.fromisoformat(eta)) if eta else None})


def rejected(reason: object) -> Unsignalled:
    """The task raised `Reject`: its message goes back, or nowhere."""
    if isinstance(reason, Reject) and reason.requeue:
        return Unsignalled(kind=Requeued)
    return Unsignalled(kind=Failed, fields={"code": "rejected"})
