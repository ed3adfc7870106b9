"""What was raised decides how a job ended, also from within what a task has wrapped it in."""

from __future__ import annotations

import pytest

from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.jobs.events import Cancelled, Failed
from immortus_channels.queues.verdicts import causes, is_about, verdict


class TimeIsUp(Exception):
    """What the queue raises."""


class OwnError(Exception):
    """What the task makes of whatever it meets."""


def judged(exception, asked=("j",)):
    """The kind of end, its code, and whether it stopped as one that was asked to."""
    kind, fields = verdict(exception, "j", asked=asked, limits=(TimeIsUp,))
    if kind is Failed:
        return "failed", fields.get("code", "error"), fields["stopped"]
    assert (kind, fields) == (Cancelled, {})
    return "cancelled", None, True


def raised_from(inner):
    return chained(OwnError(), cause=inner)


def raised_while_handling(inner):
    return chained(OwnError(), context=inner)


def raised_from_another_while_handling(inner):
    return chained(OwnError(), cause=ValueError(), context=inner)


def twice(inner):
    return raised_from(raised_while_handling(inner))


def grouped(inner):
    return ExceptionGroup("several", [ValueError(), inner])


def chained(outer, *, cause=None, context=None):
    """`outer` as Python leaves it: `raise outer from cause` while `context` was handled."""
    outer.__context__ = context if context is not None else cause
    if cause is not None:
        outer.__cause__ = cause
    return outer


WRAPPED = [raised_from, raised_while_handling, raised_from_another_while_handling, twice, grouped]


@pytest.mark.parametrize("wrap", [lambda error: error, *WRAPPED])
@pytest.mark.parametrize(
    ("error", "end"),
    [
        (JobCancelled("j"), ("cancelled", None, True)),
        (JobCancelled(), ("cancelled", None, True)),
        (JobFailed("not_an_image"), ("failed", "not_an_image", False)),
        (TimeIsUp(), ("failed", "time_limit", False)),
        (RuntimeError("a secret"), ("failed", "error", False)),
    ],
    ids=repr,
)
def test_what_says_how_the_job_ended_counts_wherever_it_stands(wrap, error, end):
    assert judged(wrap(error)) == end


@pytest.mark.parametrize("error", [JobCancelled("j"), JobFailed("not_an_image"), TimeIsUp()], ids=repr)
def test_what_a_task_hides_does_not_count(error):
    hidden = chained(OwnError(), context=error)
    hidden.__suppress_context__ = True  # what `from None` does
    assert judged(hidden) == ("failed", "error", False)


def test_the_outermost_counts():
    assert judged(chained(JobFailed("outer"), cause=JobCancelled("j"))) == ("failed", "outer", False)
    assert judged(chained(JobCancelled("j"), cause=JobFailed("inner"))) == ("cancelled", None, True)
    assert judged(raised_from(chained(JobFailed("outer"), cause=JobFailed("inner"))))[1] == "outer"
    assert judged(chained(TimeIsUp(), context=JobFailed("inner")))[1] == "time_limit"
    assert judged(chained(OwnError(), cause=raised_from(JobFailed("deep")), context=JobFailed("near")))[1] == "near"


def test_a_job_not_asked_to_stop_has_failed_unless_its_record_says_it_was():
    assert judged(JobCancelled("j"), asked=()) == ("failed", "error", True)
    assert judged(chained(JobCancelled(), cause=JobFailed("why")), asked=()) == ("failed", "why", True)


def test_a_job_fails_by_another_s_cancellation_unless_it_runs_inside_it():
    assert judged(raised_from(JobCancelled("another"))) == ("failed", "error", False)
    assert judged(raised_from(JobCancelled("around")), asked=("around",)) == ("cancelled", None, True)
    assert [is_about(error, "j") for error in (JobCancelled(), JobCancelled("j"), JobCancelled("k"))] == [1, 1, 0]


def test_a_circle_of_causes_ends():
    one, other = OwnError(), OwnError()
    one.__cause__, other.__context__ = other, one
    assert list(causes(one)) == [one, other]


def test_an_error_that_equals_every_other_does_not_count_as_seen():
    class Equal(Exception):
        __hash__ = None

        def __eq__(self, other):
            return True

    inner = JobFailed("inner")
    assert judged(chained(Equal(), cause=chained(Equal(), cause=inner)))[1] == "inner"


def test_a_very_long_chain_is_followed_to_its_end():
    error = JobFailed("first")
    for _ in range(5_000):
        error = raised_while_handling(error)
    assert judged(error)[1] == "first"
