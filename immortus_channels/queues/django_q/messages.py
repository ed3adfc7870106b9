"""What a task's message says of its job, in the dict that Django-Q2 signs and hands from hook to hook."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django_q.conf import Conf

HEADER = "immortus"
"""What the sender knows of the job."""
END = "immortus_end"
"""How a run ended, for the monitor, which alone knows whether it was the last one."""
told: ContextVar[Any] = ContextVar("immortus_django_q_told", default=None)
"""The sending that was told last, whose message has not gone out yet."""


def keeps_messages() -> bool:
    """Return whether the broker delivers messages again that were not acknowledged."""
    return bool(Conf.BROKER_CLASS or Conf.IRON_MQ or isinstance(Conf.SQS, dict) or Conf.ORM or Conf.MONGO)


def comes_back(task: Mapping[str, Any]) -> bool:
    """Return whether the queue delivers the message again after a failure; Redis keeps none that was delivered."""
    return bool(task.get("ack_id")) and not task.get("ack_failure") and not task.get("sync")


def may_be_second(task: Mapping[str, Any]) -> bool:
    """Return whether the message may have been delivered before: that takes `retry` seconds."""
    return bool(task.get("ack_id")) and timezone.now() - task["started"] >= timedelta(seconds=Conf.RETRY)


def can_be_kept(result: object) -> bool:
    """Return whether the result can leave the worker: without that the queue neither records nor acknowledges it."""
    try:
        pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - any object's own code may raise
        return False
    return True
