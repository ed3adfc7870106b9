"""What is wrong with how a project has set up Celery, found without connecting to anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celery import _state, current_app
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name

from immortus_channels.loading import Later

if TYPE_CHECKING:
    from celery.app import trace
else:  # it is not complete yet where the import of Celery brings this one about
    trace = Later("celery.app.trace")


def problems(tracked: list[str]) -> Iterator[CheckMessage]:
    """Yield what keeps these tracked tasks, or those of others, from being followed."""
    app = _state.default_app
    if tracked and app.main == "default" and not app.fixups:
        yield Warning(
            f"The project's Celery app is not loaded, so {tracked[0]!r} goes through Celery's default app, which "
            "knows none of the project's settings, not even its broker's URL.",
            hint="Write `from .celery import app as celery_app` into the __init__.py beside your celery.py.",
            id="immortus_channels.W010",
        )
    pool = current_app.conf.worker_pool
    if is_pool_of("eventlet", pool):
        yield Error(
            f"Celery's worker_pool is {pool!r}, which is not supported: such a worker runs its jobs untracked.",
            hint="Use 'prefork', 'threads' or 'gevent' (CELERY_WORKER_POOL, or `celery worker --pool`).",
            id="immortus_channels.E008",
        )
    if tracked and is_pool_of("gevent", pool):
        yield Warning(
            f"Celery's worker_pool is {pool!r}, where nothing can be pushed: pages learn of {tracked[0]!r} when their "
            "server looks at the store again, after IMMORTUS_RECHECK_INTERVAL.",
            hint="Use 'prefork' or 'threads' for tasks whose pages should know at once; else silence this.",
            id="immortus_channels.W025",
        )
    if tracked and current_app.conf.task_protocol == 1:
        yield Warning(
            "Celery's task_protocol is 1, whose messages do not name a job's owner: the users who send "
            f"{tracked[0]!r} cannot see its jobs.",
            hint="Remove it (CELERY_TASK_PROTOCOL), or set it to 2, which every Celery since 4.0 reads.",
            id="immortus_channels.W020",
        )
    for name in tracked:
        task = current_app.tasks[name]
        if inspect.iscoroutinefunction(task.run) and not trace.task_has_custom(task, "__call__"):
            yield Warning(
                f"The task {name!r} is an `async def`, which Celery calls and does not await: nothing of it runs, and "
                "its jobs are told to be finished.",
                hint="Write `def`, and `asyncio.run(…)` or `async_to_sync(…)(…)` in it. Silence this for a pool that "
                "awaits such tasks.",
                id="immortus_channels.W021",
            )


def is_pool_of(library: str, pool: Any) -> bool:
    """Return whether a pool, given as its alias, its path or its class, is one of this library, gevent or eventlet."""
    return library in (pool if isinstance(pool, str) else getattr(pool, "__module__", ""))
