"""What becomes of a run whose task raises what is not an Exception: `sys.exit()`, a cancelled event loop.

Celery's own word of it differs by pool and release, and in some there is none.
"""

from __future__ import annotations

from typing import Any

from billiard import common
from billiard.process import current_process
from celery import Task
from celery.exceptions import WorkerLostError, WorkerShutdown, WorkerTerminate


def code_of(exception: BaseException, task: Task, worker: Any) -> str | None:
    """The code of the failure of a run that this leaves; None where the worker's main process tells, or it runs again.

    Asked in the process and the thread that run the task, while the exception passes through.
    """
    if task.request.is_eager:
        return "error"
    exits = isinstance(exception, SystemExit | KeyboardInterrupt)
    if _is_prefork_child():
        return None if _main_tells() else "worker_lost" if exits else "error"
    if isinstance(exception, WorkerShutdown | WorkerTerminate):
        return None
    if not _is_solo(worker):
        return "error"
    # The worker goes down with it, and what is acknowledged late goes back to the broker.
    return None if task.acks_late else "worker_lost"


def _is_prefork_child() -> bool:
    return current_process()._parent_pid is not None  # noqa: SLF001 - the only trace of it that spawned ones have too


def _main_tells() -> bool:
    """Whether the main process will tell of it: of a process that is ended always, else since Celery 5.7.

    Before, with a result backend and billiard 4.3, it cannot store such an exception and drops it.
    """
    from celery.worker.request import Request  # noqa: PLC0415 - a web server loads nothing of a worker

    is_ended = getattr(common, "terminate_handler_fired", lambda: True)  # billiard 4.3; before, exits arrive as such
    return is_ended() or hasattr(Request, "_worker_lost_info")


def is_lost_unseen(exception: BaseException) -> bool:
    """Whether the main process calls a process lost without looking whether that had stored its success: before 5.7."""
    from celery.worker.request import Request  # noqa: PLC0415 - as above

    return isinstance(exception, WorkerLostError) and not hasattr(Request, "_success_was_stored")


def was_asked_to_end(signum: object) -> bool:
    """Whether somebody had the process of this very run ended, as `task_revoked` tells by its `signum`.

    It is a number then. Celery tells by a text of what a process does not survive that was sent a signal for an earlier
    run and lived on, as it does with that of soft time limits.
    """
    return isinstance(signum, int)


def _is_solo(worker: Any) -> bool:
    return getattr(getattr(worker, "pool_cls", None), "__module__", "") == "celery.concurrency.solo"
