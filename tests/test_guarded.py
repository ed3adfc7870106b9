"""Whatever an object of the project's raises when it is asked, the job goes on; what is meant for the job does not."""

from __future__ import annotations

import logging
from decimal import Decimal
from fractions import Fraction

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.utils.functional import SimpleLazyObject

from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.guarded import length_of, number_of, quoted, text_of


class Moody:
    """Raises what it was made with, whatever it is asked."""

    def __init__(self, error):
        self.error = error

    def refuse(self, *_):
        raise self.error

    __len__ = __index__ = __float__ = __str__ = __repr__ = refuse


ASKED = [length_of, number_of, text_of]


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize("error", [RuntimeError("x"), NotImplementedError(), ZeroDivisionError(), MemoryError()])
def test_what_an_object_raises_is_no_answer(ask, error):
    assert ask(Moody(error)) is None


@pytest.mark.parametrize("ask", [*ASKED, quoted])
@pytest.mark.parametrize("error", [JobCancelled("j"), JobFailed("x"), SoftTimeLimitExceeded(), KeyboardInterrupt()])
def test_what_ends_the_job_or_the_process_goes_on(ask, error):
    with pytest.raises(type(error)):
        ask(Moody(error))


def test_that_an_object_raised_is_told_to_whoever_looks_for_it(caplog):
    caplog.set_level(logging.DEBUG, "immortus_channels")
    length_of(Moody(RuntimeError()))
    assert "RuntimeError" in caplog.text


class Sized:
    """Says any length."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length


@pytest.mark.parametrize(
    ("thing", "length"),
    [
        ("abc", 3),
        ([], 0),
        (range(10**6), 10**6),
        (range(10**20), None),
        (iter("abc"), None),
        ((x for x in "abc"), None),
        (5, None),
        (None, None),
        (Sized(-1), None),
        (Sized(1.5), None),
        (Sized("3"), None),
    ],
)
def test_a_length_is_told_where_there_is_one(thing, length):
    assert length_of(thing) == length


@pytest.mark.parametrize(("make", "length"), [(lambda: [1, 2], 2), (lambda: iter([1]), None), (lambda: 1 / 0, None)])
def test_what_is_made_when_it_is_asked_may_fail_then(make, length):
    assert length_of(SimpleLazyObject(make)) == length


def test_a_number_is_plain():
    told = [
        number_of(thing) for thing in (1, 2.5, Decimal("2.5"), Fraction(1, 2), True, "5", None, 1j, Decimal("sNaN"))
    ]
    assert told == [1, 2.5, 2.5, 0.5, None, None, None, None, None]


@pytest.mark.parametrize(
    ("thing", "written"),
    [("a", "'a'"), (Moody(ValueError()), "<Moody>"), (10**5000, "<int>"), ("x" * 1000, f"'{'x' * 199}…")],
    ids=["text", "moody", "huge", "long"],
)
def test_a_value_is_quoted_in_short_or_by_its_type(thing, written):
    assert quoted(thing) == written
