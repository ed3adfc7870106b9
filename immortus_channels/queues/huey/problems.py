"""What is wrong with how a project has set up Huey, found without connecting to anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name
from huey.api import TaskWrapper

from immortus_channels.queues.huey.calls import name_of


def problems(tracked: Sequence[TaskWrapper]) -> Iterator[CheckMessage]:
    """Yield what keeps these tracked tasks from being followed as they could be, and what Huey does not say."""
    for task in tracked:
        yield from _of_task(task, name_of(task.task_class))
    if tracked:
        yield from _of_settings()


def _of_task(task: TaskWrapper, name: str) -> Iterator[CheckMessage]:
    if not task.huey.results:
        yield Warning(
            f"The task {name!r} returns None where it is called, as its Huey has results=False: a view gets no id to "
            "show its job by.",
            hint="Remove results=False. If no page shows these jobs, silence this.",
            id="immortus_channels.W035",
        )
    if inspect.iscoroutinefunction(inspect.unwrap(task.func)):
        yield Warning(
            f"The task {name!r} is an `async def`, which Huey calls and does not await: nothing of it runs.",
            hint="Write `def`, and `asyncio.run(…)` or `async_to_sync(…)(…)` in it.",
            id="immortus_channels.W036",
        )
    if task.settings.get("default_timeout") and _worker_type() == "thread":
        yield Warning(
            f"The task {name!r} has a timeout, and Huey's threads do not keep it: the task runs on, and its job too.",
            hint='Set HUEY["consumer"]["worker_type"] to "process" or "greenlet", or call `check_timeout()` of the '
            "task (context=True). Silence this if the command line chooses such workers.",
            id="immortus_channels.W038",
        )


def _of_settings() -> Iterator[CheckMessage]:
    given = getattr(settings, "HUEY", None)
    if isinstance(given, dict) and "immediate" not in given and settings.DEBUG:
        yield Warning(
            "Huey is in immediate mode, as DEBUG is True and HUEY does not say otherwise: each job runs inside of the "
            "request that starts it, and its page shows nothing but the end.",
            hint='Set HUEY["immediate"] to False and run `manage.py run_huey`, or to True if that is what you want.',
            id="immortus_channels.W037",
        )
    if _worker_type() in ("greenlet", "gevent"):
        yield Warning(
            "Huey's workers are greenlets, whose process can push nothing: pages learn of changes when their server "
            "looks at the store again, after IMMORTUS_RECHECK_INTERVAL.",
            hint='Set HUEY["consumer"]["worker_type"] to "thread" or "process", or silence this.',
            id="immortus_channels.W039",
        )


def _worker_type() -> str:
    """Return the kind of workers that the settings name, Huey's default if they name none; "" where they cannot."""
    given = getattr(settings, "HUEY", None)
    return given.get("consumer", {}).get("worker_type", "thread") if isinstance(given, dict) else ""
