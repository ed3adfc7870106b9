"""Processes of the benchmark: functions that run in one of their own, servers, and what the kernel says of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

_spawn = multiprocessing.get_context("spawn")
_TICKS = os.sysconf("SC_CLK_TCK")


class Talk:
    """A child's end of the line to the benchmark."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def ready(self, told: object = None) -> Any:
        """Say that all is prepared, and wait for the word to go on; what came with it."""
        self._line.send(told)
        return self._line.recv()


class Child:
    """A function in a Python process of its own, with a Django of its own environment.

    It is called with a `Talk` before the arguments given; a context manager that ends the process.
    """

    PATIENCE = 120.0

    def __init__(self, environ: Mapping[str, str], function: Callable[..., Any], *arguments: Any) -> None:
        self._name = function.__qualname__
        self._line, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, environ, function, arguments), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    def wait(self) -> Any:
        """What the child says when it is ready, or returns when it is done."""
        if not self._line.poll(self.PATIENCE):
            msg = f"{self._name} has said nothing for {self.PATIENCE:g} s"
            raise TimeoutError(msg)
        told = self._line.recv()
        if isinstance(told, BaseException):
            raise told
        return told

    def go(self, told: object = None) -> None:
        """Let a child that is ready go on."""
        self._line.send(told)

    def __enter__(self) -> Self:
        """The child, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it: what it had to say has been heard."""
        self._process.kill()
        self._process.join()


def _serve(line: Connection, environ: Mapping[str, str], function: Callable[..., Any], arguments: tuple[Any]) -> None:
    os.environ.update(environ)
    try:
        if "DJANGO_SETTINGS_MODULE" in environ:
            import django

            django.setup()
        line.send(function(Talk(line), *arguments))
    except BaseException as error:
        line.send(RuntimeError(f"{function.__qualname__}: {error!r}"))
        raise


def call(environ: Mapping[str, str], function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a process of its own."""
    with Child(environ, function, *arguments) as child:
        return child.wait()


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, of its own and for system calls."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
