"""Strict JSON: what two readers could understand in two ways, or not at all, is understood by nobody."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.jobs.strict_json import Bounds, is_deeper, loads

BOUNDS = Bounds(size=1000, depth=3, keys=4, largest=2**53)


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"{}",
        "",
        "NaN",
        "-Infinity",
        "1e400",
        "9007199254740993",
        "9" * 900,
        '{"a": 1, "a": 1}',
        '{"a": {"__proto__": 1, "__proto__": 2}}',
        "[[[[]]]]",
        '{"a": [{"b": {}}]}',
        '{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}',
        '"' + "x" * 999 + '"',
        '"' + "é" * 500 + '"',
        '"\ud800"',
        "{} {}",
        "[1,]",
        "'a'",
    ],
)
def test_what_is_not_strict_and_within_bounds_is_a_value_error(text):
    assert is_refused(text, BOUNDS)


def is_refused(text, bounds):
    try:
        loads(text, bounds)
    except ValueError:
        return True
    return False


def test_depth_without_end_is_a_value_error_and_not_a_recursion_error():
    for text in ("[" * 500_000, '{"a":' * 100_000):
        assert is_refused(text, Bounds(size=10**6, depth=10))


@pytest.mark.parametrize(
    "text", ["[[[]]]", '{"a": [{}]}', "9007199254740992", "-0.5e-300", '"x"', "null", '{"a":1,"b":2}']
)
def test_what_is_within_the_bounds_is_read_as_python_reads_it(text):
    assert loads(text, BOUNDS) == json.loads(text)


LEAVES = st.none() | st.floats() | st.integers() | st.text()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.text() | TREES.map(json.dumps))
def test_nothing_but_a_value_error_is_ever_raised(text):
    try:
        value = loads(text, BOUNDS)
    except ValueError:
        return
    assert json.loads(json.dumps(value, allow_nan=False)) == json.loads(text)


def test_a_level_is_an_array_or_an_object():
    assert not is_deeper(7, 0)
    assert is_deeper([], 0)
    assert not is_deeper([1, "x", None], 1)
    assert is_deeper([1, {}], 1)
