"""What a Celery message says about other tasks: the rest of its chain, its chord's body, its callbacks.

Signatures are read as dictionaries, which is what they are in a message too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from immortus_channels.jobs.ids import text_of
from immortus_channels.queues.celery.marks import STANDS_FOR

REPLACES = "immortus_after"
"""The header of any task that continues a job, tracked or not: it names the run that `task.replace()` ended."""
REPLACED = "immortus_replaced"
"""Set on the request of a running task that has sent others in its place; not a header."""


class Task(NamedTuple):
    """A task that another one will send."""

    job_class: str
    """Its name, or the name of the task whose job it continues."""
    job_id: str
    """Empty if it is not decided yet."""
    replaces: str
    """The earlier run of the same job that it continues; usually none."""


def followers(chain: Any, chord: Any) -> Iterator[Task]:
    """Return the tasks that run only if this one succeeds: the rest of its chain, its chord's body, and theirs."""
    return (task for task in tasks((chain, chord), but=("link", "link_error")) if task.job_id)


def tasks(canvas: Any, *, but: Sequence[str] = ()) -> Iterator[Task]:
    """Yield every task in a canvas and in its links, except those under the signature options named in `but`."""
    if isinstance(canvas, Mapping):
        options = canvas.get("options") or {}
        if not canvas.get("subtask_type"):
            headers = options.get("headers") or {}
            name = headers.get(STANDS_FOR) or canvas.get("task")
            yield Task(str(name), text_of(options.get("task_id")) or "", str(headers.get(REPLACES, "")))
        for part in _parts(canvas):
            yield from tasks(part, but=but)
        for name in _LINKS:
            if name not in but:
                yield from tasks(options.get(name), but=but)
    elif _is_several(canvas):
        for one in canvas:
            yield from tasks(one, but=but)


def class_of(name: str, headers: Mapping[str, Any], options_of: Callable[[str], object]) -> str:
    """Return the class of a message's job: the task's name, or that of the job it continues."""
    return name if options_of(name) is not None else headers.get(STANDS_FOR) or name


_LINKS = ("chain", "chord", "link", "link_error")
_PARTS = ("tasks", "header", "body")


def _parts(signature: Mapping[str, Any]) -> Iterator[Any]:
    inner = signature.get("kwargs") or {}
    return (inner.get(name) for name in _PARTS) if signature.get("subtask_type") else iter(())


def _is_several(canvas: Any) -> bool:
    return isinstance(canvas, Sequence) and not isinstance(canvas, str | bytes)


def with_headers(canvas: Any, headers_of: Callable[[str, str], Mapping[str, Any]]) -> Any:
    """Return a copy in which every task is sent with more headers, those that `headers_of` gives for its name and id.

    A copy, as a project may use the same signature many times, for different users.
    """
    if _is_several(canvas):
        return [with_headers(one, headers_of) for one in canvas]
    if not isinstance(canvas, Mapping):
        return canvas
    options = dict(canvas.get("options") or {})
    options |= {name: with_headers(options[name], headers_of) for name in _LINKS if options.get(name)}
    if canvas.get("subtask_type"):
        inner = dict(canvas.get("kwargs") or {})
        inner |= {name: with_headers(inner[name], headers_of) for name in _PARTS if inner.get(name)}
        return {**canvas, "kwargs": inner, "options": options}
    more = headers_of(str(canvas.get("task")), text_of(options.get("task_id")) or "")
    return {**canvas, "options": options | {"headers": {**(options.get("headers") or {}), **more}}}
