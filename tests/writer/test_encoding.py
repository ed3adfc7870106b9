"""What becomes of the project's own objects in JSON; the rest of it is in test_values.py."""

from __future__ import annotations

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.exceptions import InvalidValue, JobCancelled
from immortus_channels.jobs.job import LARGEST
from immortus_channels.writer.encoding import encode, keep_integers, repair_text


class Numbers(enum.IntEnum):
    """An integer of a kind of its own."""

    LARGE = 2**60


class Changing(dict):
    """Is changed by another thread while it is written."""

    def items(self):
        msg = "dictionary changed size during iteration"
        raise RuntimeError(msg)


def shown(value):
    return keep_integers(*encode(value, "j", "A value"))


@pytest.mark.parametrize("number", [0, LARGEST, -LARGEST, True, False, None, 1e300, -0.1234567890123456789])
def test_a_number_that_browsers_read_as_it_is_stays(number):
    assert shown({"a": [number]}) == ({"a": [number]}, None)
    assert type(shown(number)[0]) is type(number)


@pytest.mark.parametrize("number", [2**53, -(2**53), 653247040368672769, 10**300, Numbers.LARGE])
def test_one_that_they_would_round_is_text_wherever_it_stands(number):
    text = str(int(number))
    assert shown(number) == (text, int(number))
    assert shown({"a": [1, {"b": (number, "c")}]}) == ({"a": [1, {"b": [text, "c"]}]}, int(number))


def test_an_integer_that_is_a_key_was_text_already():
    assert shown({2**60: 1}) == ({str(2**60): 1}, None)


def test_digits_in_a_text_are_no_integer():
    assert shown("653247040368672769") == ("653247040368672769", None)


@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_whatever_is_shown_holds_no_integer_that_would_be_rounded(value):
    def integers(one):
        if isinstance(one, int):
            yield one
        for inner in one.values() if isinstance(one, dict) else one if isinstance(one, list) else ():
            yield from integers(inner)

    assert all(abs(number) <= LARGEST for number in integers(shown(value)[0]))


def test_what_raises_while_it_is_written_is_an_invalid_value():
    with pytest.raises(InvalidValue, match=r"type Changing cannot be written as JSON: dictionary changed size"):
        encode(Changing(a=1), "j", "A value")


def test_what_ends_the_job_while_it_is_written_does():
    class Cancelling(dict):
        def items(self):
            raise JobCancelled

    with pytest.raises(JobCancelled):
        encode(Cancelling(a=1), "j", "A value")


def test_text_is_repaired():
    assert repair_text("a\0\ud800\U0001f600") == "a\ufffd\ufffd\U0001f600"
