"""Ids: any text that stores can keep; those that need no escaping go into paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.jobs.ids import fits_path, is_job_id


@given(st.text(max_size=300))
def test_what_fits_a_path_is_an_id(text):
    assert is_job_id(text) or not fits_path(text)


@pytest.mark.parametrize(("value", "is_one"), [("a", True), ("x" * 255, True), ("x" * 256, False), ("", False)])
def test_an_id_is_text_of_one_to_255_characters(value, is_one):
    assert is_job_id(value) is is_one
    assert not is_job_id(value.encode())


@pytest.mark.parametrize("value", ["a\0", "\ud800", None, 1, ["a"]])
def test_what_stores_refuse_is_no_id(value):
    assert not is_job_id(value)
