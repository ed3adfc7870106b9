"""What an exception means for the job that it ended, however deep the cause: tasks wrap the exceptions they meet."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.jobs.events import Cancelled, Failed
from immortus_channels.writer.failures import clean_error


class Verdict(NamedTuple):
    """How the job ended: the type of event, and its fields."""

    kind: type[Failed | Cancelled]
    fields: dict[str, Any]


def verdict(
    exception: BaseException,
    job_id: str,
    *,
    asked: Collection[str] = (),
    limits: tuple[type[BaseException], ...] = (),
) -> Verdict:
    """Return what the exception means for the job: the outermost cause that has a meaning decides.

    JobCancelled has one if it names a job that was asked to stop: this one, or one that it runs in. `asked` are those
    jobs as far as they are known here. A cancelled task of an event loop has stopped as well: a program may cancel it
    because its job was asked to. `limits` are what the queue raises when a time limit is exceeded. Any other exception
    keeps its text for the log.
    """
    stopped = isinstance(exception, CancelledError)  # the record says whether it was asked to
    for cause in causes(exception):
        match cause:
            case JobCancelled() if _job_of(cause, job_id) in asked:
                return Verdict(Cancelled, {})
            case JobCancelled() if _job_of(cause, job_id) == job_id:
                stopped = True
            case JobFailed():
                error = clean_error(cause.code, cause.message, job_id)
                return Verdict(Failed, {"code": error.code, "message": error.message, "stopped": stopped})
            case _ if isinstance(cause, limits):
                return Verdict(Failed, {"code": "time_limit", "stopped": stopped})
    return Verdict(Failed, {"stopped": stopped})


def is_about(error: JobCancelled, job_id: str) -> bool:
    """Return whether it is this job that stops, and not another one that was run in it or around it."""
    return _job_of(error, job_id) == job_id


def _job_of(error: JobCancelled, job_id: str) -> object:
    """Return the job that stops: an exception raised without a name is about the job that raises it."""
    return error.args[0] if error.args else job_id


def causes(exception: BaseException) -> Iterator[BaseException]:
    """Yield the exception, then what it was raised from or while handling, then theirs: the outermost first, each once.

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
