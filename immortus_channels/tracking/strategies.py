"""Tracking strategies: how the jobs of a task are followed, and which strategy serves which task.

Resolution: inline (`@tracked(strategy=…)`) → `IMMORTUS_TRACKING_STRATEGY` → the one the task's queue names.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from typing import Any

from django.core.signals import setting_changed

from immortus_channels import loading, queues
from immortus_channels.conf import settings
from immortus_channels.exceptions import StrategyNotFound
from immortus_channels.guarded import answer
from immortus_channels.jobs.job import Error, Job, State
from immortus_channels.logs import logger
from immortus_channels.queues.tracked import Named
from immortus_channels.tracking import rules
from immortus_channels.tracking.rules import User

MODULE = "tracking_strategies"
"""The module of each installed app that short names refer to."""
DEFAULT = "immortus_channels.TrackingStrategy"
"""The strategy of tasks that have no other: it follows without publishing anything."""


class Strategy:
    """The hooks and rules of a strategy that this package calls: `TrackingStrategy` is what projects subclass."""

    def job_enqueued(self, job_id: str) -> None:
        """React before the job goes to its queue."""

    def job_started(self, job_id: str) -> None:
        """React when a worker begins a run of the job."""

    def job_finished(self, job_id: str) -> None:
        """React when the run has returned."""

    def job_failed(self, job_id: str, error: Error) -> None:
        """React when the job has failed; the viewer will see `error.code` and `error.message`."""

    def job_retrying(self, job_id: str) -> None:
        """React when the run has failed, and the queue will run the job again."""

    def job_cancelled(self, job_id: str) -> None:
        """React when the job has ended because it was no longer wanted."""

    def job_lost(self, job_id: str) -> None:
        """React when the job has been silent for too long; it may yet be revived."""

    def allows(self, user: User, job: Job) -> bool:
        """Return whether `user` may see `job`; by default what `IMMORTUS_ACCESS` says."""
        return rules.by_setting(user, job)

    def allows_cancel(self, user: User, job: Job) -> bool:
        """Return whether `user`, who may see `job`, may also cancel it.

        By default its owner may, every viewer if it has no owner, and users with the permission to change jobs.
        """
        return rules.may_cancel_by_default(user, job)


HOOKS = tuple(state.hook for state in State)
_QUIET = ("meta", "completed", "status", "fetch", "publish_meta", "job", "allows", "allows_cancel")
"""Methods that change nothing, or publish by themselves."""


def defines(strategy: object, *names: str) -> bool:
    """Return whether the strategy itself defines one of these methods, rather than inheriting the silent ones."""
    own = (name for name in names if getattr(type(strategy), name, None) is not getattr(Strategy, name, None))
    return any(callable(answer(partial(getattr, strategy, name, None))) for name in own)


# Resolution


def strategy_for(job_class: str, otherwise: Named = None) -> Any:
    """Return the strategy that serves a task, by the name its queue registered it under.

    `otherwise` is the inline one of a task that is not registered. Raises `StrategyNotFound` when the strategy named
    does not exist.
    """
    queue, options = queues.find(job_class)
    inline = options.strategy if options is not None else otherwise
    return load(inline or settings.TRACKING_STRATEGY or (queue.strategy if queue else DEFAULT))


def strategy_of(job_class: str, job_id: str = "") -> Any:
    """Return the strategy that serves a job of this class; if it fails to load, log that and return the silent one."""
    try:
        return strategy_for(job_class)
    except Exception:
        # Its module or its class may raise anything, and the job must be followed all the same.
        logger.exception("The strategy for jobs of %r failed to load", job_class, extra={"job_id": job_id})
        return load(DEFAULT)


def get_strategy(task: object) -> Any:
    """Return the strategy of a task, given as the task itself, its registered name, or a job's class.

    For views that have no job at hand: `get_strategy(process_image).completed(job_id)`. Raises StrategyNotFound for a
    name that no tracked task here has, unless `IMMORTUS_TRACKING_STRATEGY` names one for all.
    """
    name = task if isinstance(task, str) else queues.name_of(task)
    if isinstance(task, str) and not settings.TRACKING_STRATEGY and queues.find(task)[1] is None:
        known = ", ".join(sorted(queues.tracked_names())) or "none"
        msg = f"No tracked task {task!r} is known here, so it has no strategy. Known are: {known}."
        raise StrategyNotFound(msg)
    return strategy_for(name)


@lru_cache(maxsize=256)
def load(named: Named) -> Any:
    """Return the strategy that a class, a dotted path or a short name names; one object per name and process."""
    if isinstance(named, type):
        return named()
    found, tried = loading.find(str(named), MODULE)
    if found is None:
        msg = f"No tracking strategy {named!r}. Tried: {', '.join(tried)}."
        raise StrategyNotFound(msg)
    return found()


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("INSTALLED_APPS", "IMMORTUS_TRACKING_STRATEGY"):
        load.cache_clear()


setting_changed.connect(_forget)


class Calling:
    """A strategy as a running task uses it: after every method called through it, its meta is published."""

    def __init__(self, strategy: object, after: Callable[[], None]) -> None:
        self._strategy = strategy
        self._after = after

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_strategy" not in vars(self):  # `copy` asks before there is anything
            raise AttributeError(name)
        attribute = getattr(self._strategy, name)
        if not callable(attribute) or name in _QUIET:
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            result = attribute(*args, **kwargs)
            if isinstance(result, Coroutine):
                return self._awaited(result)
            self._after()
            return result

        return call

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        result = await coroutine
        self._after()
        return result

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._strategy!r}>"
