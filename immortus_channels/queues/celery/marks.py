"""How to tell a Celery task or message that concerns a job from all others, before anything else is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from immortus_channels.keys import key_of
from immortus_channels.queues.tracked import MARK, TaskOptions, options_on

QUEUE = "celery"
HEADER = "immortus"
"""The header in which the message of a job says what its sender knows."""
OWNER = "immortus_owner"
"""The header that names the owner of a job that another process will send."""
STANDS_FOR = "immortus_for"
"""The header of an untracked task that continues a tracked job and names its class; `task.replace()` sends it."""


def options_of(task: Any) -> TaskOptions | None:
    """Return the mark on a task: set on the task itself, on the function under its decorator, or by its base class."""
    if task is None:
        return None
    mark = vars(task).get(MARK) or options_on(task.run) or options_on(task)
    inline = getattr(task, "tracking_strategy", None)
    return replace(mark, strategy=inline) if mark and inline and not mark.strategy else mark


def key_by(headers: Mapping[str, Any], task_id: Any) -> Any:
    """Return the key of the job of a delivery; the id itself where no namespace came with it."""
    about = headers.get(HEADER) or headers.get(OWNER)
    namespace = about and about.get("namespace")
    return key_of(namespace, task_id) if namespace else task_id
