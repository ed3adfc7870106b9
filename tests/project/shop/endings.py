"""Tasks that end in ways of which Celery says little, something else, or nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from celery import Task, current_task, shared_task, states
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from immortus_channels import current_job, tracked

# What a task writes down itself


@shared_task(bind=True, max_retries=5)
@tracked
def writes_and_ignores(self, state=None, by="update_state", countdown=None):
    """Write a state into the result backend, in one of the ways there are, and give up the outcome."""
    meta = {"exc_type": "E", "exc_message": "a secret nobody may see", "exc_module": "builtins"}
    ways = {
        "update_state": lambda: self.update_state(state=state, meta=meta),
        "task_id": lambda: self.update_state(task_id=self.request.id, state=state, meta=meta),
        "current_task": lambda: current_task.update_state(state=state, meta=meta),
        "store_result": lambda: self.backend.store_result(self.request.id, meta, state),
        "mark_as_failure": lambda: self.backend.mark_as_failure(self.request.id, RuntimeError("a secret")),
        "another": lambda: self.update_state(task_id="another", state=state, meta=meta),
    }
    if countdown is not None and not self.request.retries:
        self.retry(countdown=countdown, throw=False)
    if not (countdown is not None and self.request.retries):
        for each in state.split() if state else ():
            state = each
            ways[by]()
    raise Ignore


@shared_task(bind=True)
def untracked_writes_and_ignores(self, state):
    self.update_state(state=state, meta={"exc_type": "E", "exc_message": "x", "exc_module": "builtins"})
    raise Ignore


@shared_task(bind=True)
@tracked
def ignores_the_second_time(self):
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    raise Ignore


@shared_task(bind=True)
@tracked
def writes_and_returns(self):
    self.update_state(state=states.FAILURE, meta={"exc_type": "E", "exc_message": "x", "exc_module": "builtins"})


# What is no Exception


class Stop(BaseException):
    pass


@shared_task
@tracked
def leaves(by="exit"):
    if by == "cancelled loop":

        async def cancelled():
            asyncio.current_task().cancel()
            await asyncio.sleep(1)

        asyncio.run(cancelled())
    raise {
        "exit": SystemExit(3),
        "good exit": SystemExit(0),
        "exit with text": SystemExit("no"),
        "interrupt": KeyboardInterrupt(),
        "cancelled": asyncio.CancelledError(),
        "generator": GeneratorExit(),
        "own": Stop("own"),
    }[by]


@shared_task
def untracked_exit():
    sys.exit(3)


@shared_task(acks_late=True, reject_on_worker_lost=True)
@tracked
def exits_once_and_is_sent_again():
    if current_job().attempt == 1:
        sys.exit(3)


# What is written down before the end is told


class Careless(Task):
    abstract = True

    def on_success(self, retval, task_id, args, kwargs):
        if kwargs.get("then") == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kwargs.get("then") == "exit":
            sys.exit(3)
        msg = "on_success"
        raise RuntimeError(msg)


@shared_task(base=Careless)
@tracked(publish_result=True)
def done_before(then="raise"):
    current_job().set_meta(then=then)
    return {"done": True}


class Tidy(Task):
    abstract = True

    def after_return(self, *_):
        msg = "after_return"
        raise RuntimeError(msg)


@shared_task(base=Tidy)
@tracked
def untidy():
    return 1


# Time limits


@shared_task(bind=True, acks_late=True, acks_on_failure_or_timeout=False, time_limit=1)
@tracked
def in_time_the_second_time(self, once):
    if not Path(once).exists():
        Path(once).touch()
        time.sleep(30)


@shared_task
@tracked
def limited(seconds=30.0, then="raise"):
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded as limit:
        if then == "wrap":
            msg = "wrapped"
            raise RuntimeError(msg) from limit
        raise


@shared_task(autoretry_for=(Exception,), retry_kwargs={"max_retries": 3, "countdown": 1})
@tracked
def limited_and_retried(seconds=30.0):
    time.sleep(seconds)


@shared_task
@tracked
def says_it_took_too_long():
    raise SoftTimeLimitExceeded
