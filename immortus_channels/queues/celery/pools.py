"""What happens to a run whose task raises something other than an Exception: `sys.exit()`, a cancelled event loop.

What Celery itself reports differs by pool and release, and sometimes it reports nothing.
"""

from __future__ import annotations

from typing import Any

from billiard import common
from billiard.process import current_process
from celery import Task
from celery.exceptions import WorkerLostError, WorkerShutdown, WorkerTerminate


def code_of(exception: BaseException, task: Task, worker: Any) -> str | None:
    """Return the failure code of a run that ends with this exception; None if MAIN reports it or the task runs again.

    Called in the process and thread that run the task, while the exception passes through.
    """
    if task.request.is_eager:
        return "error"
    exits = isinstance(exception, SystemExit | KeyboardInterrupt)
    if _is_prefork_child():
        return None if _main_reports() else "worker_lost" if exits else "error"
    if isinstance(exception, WorkerShutdown | WorkerTerminate) or _is_limit_of_gevent(exception):
        return None
    if not _is_solo(worker):
        return "error"
    # The worker goes down too, and a message that is acknowledged late returns to the broker.
    return None if task.acks_late else "worker_lost"


def _is_prefork_child() -> bool:
    return current_process()._parent_pid is not None  # noqa: SLF001 - the only trace of it that spawned ones have too


def _main_reports() -> bool:
    """Return whether the main process will report it: always if it ends the process, otherwise since Celery 5.7.

    Before, with a result backend and billiard 4.3, it cannot store such an exception and drops it.
    """
    from celery.worker.request import Request  # noqa: PLC0415 - a web server loads none of the worker's code

    is_ended = getattr(common, "terminate_handler_fired", lambda: True)  # billiard 4.3; before, exits arrive as such
    return is_ended() or hasattr(Request, "_worker_lost_info")


def _is_limit_of_gevent(exception: BaseException) -> bool:
    """Return whether gevent's pool raised it in a task that runs for too long: the pool reports that, too."""
    return type(exception).__module__ == "gevent.timeout"


def is_lost_unseen(exception: BaseException) -> bool:
    """Return whether MAIN calls a process lost without checking whether it had stored its success: before 5.7."""
    from celery.worker.request import Request  # noqa: PLC0415 - as above

    return isinstance(exception, WorkerLostError) and not hasattr(Request, "_success_was_stored")


def was_asked_to_end(signum: object) -> bool:
    """Return whether a caller asked to end the process of this very run, by the `signum` that `task_revoked` gives.

    It is a number then. Celery gives a text when a process dies that had survived a signal for an earlier run, as
    processes survive the signal of soft time limits.
    """
    return isinstance(signum, int)


def _is_solo(worker: Any) -> bool:
    return getattr(getattr(worker, "pool_cls", None), "__module__", "") == "celery.concurrency.solo"
