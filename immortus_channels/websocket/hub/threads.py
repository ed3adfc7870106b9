"""Threads that read for sockets, so that a slow database does not block the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

from django.db import close_old_connections, connections

from immortus_channels.stores import get_store

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


class Readers:
    """A small pool of threads that the store knows as this package's own.

    Channels runs such calls in one thread for all sockets of the process (measured: one slow query silenced every
    socket for 2.7 s). The threads of `concurrent.futures` cannot release what they have claimed when they end.
    """

    THREADS = 4
    TIMEOUT = 2.0

    def __init__(self, threads: int = THREADS) -> None:
        self._most = threads
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(
        self, function: Callable[Arguments, Found], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Found:
        """Return what the function returns, or raise what it raises.

        Raises TimeoutError after `TIMEOUT` seconds; the thread may continue to work.
        """
        future: Future[Found] = Future()
        self._calls.put((future, partial(function, *args, **kwargs)))
        if len(self._threads) < self._most:
            self._start()
        try:
            async with asyncio.timeout(self.TIMEOUT):
                return await asyncio.wrap_future(future)
        finally:
            # An error refers to this frame: if that referred to the error, both would wait for the garbage collector.
            del future

    def _start(self) -> None:
        """Start another thread; if the system has none left, the others serve, and the next call tries again."""
        thread = threading.Thread(target=self._work, name="immortus-reader", daemon=True)
        with suppress(RuntimeError):
            thread.start()
            self._threads.append(thread)

    def close(self, wait: float = 0) -> None:
        """Let the threads finish their calls and end, and wait so many seconds for each."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads if wait else ():
            thread.join(wait)

    def _work(self) -> None:
        store = get_store()
        store.claim_thread()
        try:
            while (call := self._calls.get()) is not None:
                _answer(*call)
                del call  # and with it the caller and the result
        finally:
            store.release_thread()
            connections.close_all()


def _answer(future: Future[Any], function: Callable[[], object]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(_call_as_in_a_request(function))
    except _ENDS as error:
        wrapped = RuntimeError(f"{type(error).__name__} was raised where a job was read")
        wrapped.__cause__ = error
        future.set_exception(wrapped)
    except Exception as error:  # noqa: BLE001 - `run` raises it in the caller
        future.set_exception(error)
    del future  # as in `run`


def _call_as_in_a_request(function: Callable[[], object]) -> object:
    """Return what the function returns; Django closes connections that have died or expired before and after it."""
    close_old_connections()
    try:
        return function()
    finally:
        close_old_connections()


_ENDS = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, CancelledError)
"""Errors that would end a task or the server; a project's permission rule may raise SystemExit."""


class Shared(Generic[Found]):
    """Makes one read at a time, and gives its result to all callers that asked before it began."""

    _found: Found

    def __init__(self, read: Callable[[], Awaitable[Found]]) -> None:
        self._read = read
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0

    async def get(self) -> Found:
        """Return the result of a read that begins after this call, or raise its error."""
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._answered < mine:
                asked = self._asked
                self._found = await self._read()
                self._answered = asked
            return self._found
