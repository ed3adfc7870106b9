"""What an exception says of the job that it ended, wherever that stands in it: tasks wrap what they meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.jobs.events import Cancelled, Failed
from immortus_channels.writer.values import clean_error


class Verdict(NamedTuple):
    """How the job ended: the kind of event, and what that says."""

    kind: type[Failed | Cancelled]
    fields: dict[str, Any]


def verdict(
    exception: BaseException,
    job_id: str,
    *,
    asked: Collection[str] = (),
    limits: tuple[type[BaseException], ...] = (),
) -> Verdict:
    """What the exception means for the job: the outermost in it that says something decides.

    JobCancelled says something if it names a job that was asked to stop: this one, or one that it runs in. `asked` are
    those of which that is known here. `limits` are what the queue raises when a time limit is over. Whatever else was
    raised keeps its text for the log.
    """
    stopped = False
    for cause in causes(exception):
        match cause:
            case JobCancelled() if _named(cause, job_id) in asked:
                return Verdict(Cancelled, {})
            case JobCancelled() if _named(cause, job_id) == job_id:
                stopped = True  # whether it was asked to, the record tells
            case JobFailed():
                said = clean_error(cause.code, cause.message, job_id)
                return Verdict(Failed, {"code": said.code, "message": said.message, "stopped": stopped})
            case _ if isinstance(cause, limits):
                return Verdict(Failed, {"code": "time_limit", "stopped": stopped})
    return Verdict(Failed, {"stopped": stopped})


def is_about(error: JobCancelled, job_id: str) -> bool:
    """Whether it is this job that stops, and not another one that was run in it or around it."""
    return _named(error, job_id) == job_id


def _named(error: JobCancelled, job_id: str) -> object:
    """The job that stops: one that is raised without a name is about the job that raises it."""
    return error.args[0] if error.args else job_id


def causes(exception: BaseException) -> Iterator[BaseException]:
    """The exception, then what it was raised from or while handling, then theirs: the outermost first, each once.

    The members of an exception group count with what it was raised from. What `from None` hides is left out.
    """
    seen: set[int] = set()  # by identity: an exception may compare as it likes, and a chain can be a circle
    level = [exception]
    while level:
        inner: list[BaseException] = []
        for one in level:
            if id(one) not in seen:
                seen.add(id(one))
                yield one
                inner += _inside(one)
        level = inner


def _inside(exception: BaseException) -> Iterator[BaseException]:
    if isinstance(exception, BaseExceptionGroup):
        yield from exception.exceptions
    if exception.__cause__ is not None:
        yield exception.__cause__
    is_hidden = exception.__suppress_context__ and exception.__cause__ is None
    if exception.__context__ is not None and not is_hidden:
        yield exception.__context__
