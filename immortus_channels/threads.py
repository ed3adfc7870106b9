"""The kind of thread that code runs in, and calls in a new thread."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

from django.db import connections
from django.utils.asyncio import async_unsafe

Answer = TypeVar("Answer")
Function = TypeVar("Function", bound=Callable[..., Any])


def is_green() -> bool:
    """Return whether gevent or eventlet have replaced threads, which no event loop of ours may then block."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent is not None and gevent.is_module_patched("threading"))
        or (eventlet is not None and eventlet.is_monkey_patched("thread"))
    )


def is_in_event_loop() -> bool:
    """Return whether this is an event loop's thread, where no other loop can run: inline writes may come from one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def strand_here() -> int:
    """Return a number of the task of an event loop that this code is in, outside of any the one of its thread."""
    task = asyncio.current_task() if asyncio._get_running_loop() is not None else None  # noqa: SLF001 - asyncio exports it
    return threading.get_ident() if task is None else id(task)


def waits_for_store(instead: str) -> Callable[[Function], Function]:
    """Decorate a function that waits for the store, so that it raises SynchronousOnlyOperation on an event loop.

    `instead` is what to write there. As in Django, DJANGO_ALLOW_ASYNC_UNSAFE allows the call: for notebooks.
    """
    return async_unsafe(f"This waits for the store, and an event loop would wait with it: write `{instead}` instead.")


def call_in_thread(call: Callable[[], Answer], *, name: str = "immortus-call") -> Future[Answer]:
    """Make the call in a new daemon thread, with the caller's context variables; return its future answer or error.

    Stop waiting for it when it takes too long: the call continues. What would end a process, SystemExit for example,
    becomes a RuntimeError. The database connections that the call opened are closed.
    """
    answer: Future[Answer] = Future()
    context = copy_context()

    def run() -> None:
        try:
            answer.set_result(context.run(call))
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answer.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - it ends no more than this answer
            answer.set_exception(RuntimeError(f"{type(error).__name__} was raised"))
        finally:
            connections.close_all()

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # the system has no thread left
        answer.set_exception(error)
    return answer


async def await_in_thread(call: Callable[[], Answer]) -> Answer:
    """Do what `call_in_thread` does, and await the answer; when the caller is cancelled, the call continues."""
    return await asyncio.shield(asyncio.wrap_future(call_in_thread(call)))
