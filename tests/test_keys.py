"""One text for a namespace and an id: no two pairs have the same, and without a namespace it is the id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.jobs.ids import is_job_id, is_key, is_namespace
from immortus_channels.jobs.job import Job
from immortus_channels.keys import key_of, name_in, namespace_of

IDS = st.text(min_size=1, max_size=20).filter(is_job_id)
NAMESPACES = st.text(max_size=20).filter(is_namespace)


@given(NAMESPACES, IDS)
def test_a_key_gives_back_its_namespace_and_its_id(namespace, job_id):
    key = key_of(namespace, job_id)
    assert (namespace_of(key), name_in(key)) == (namespace, job_id)
    assert is_key(key)


@given(IDS)
def test_a_key_without_a_namespace_is_the_id(job_id):
    assert key_of("", job_id) == job_id


@pytest.mark.parametrize(
    "text", ["\x1f", "a\x1f", "\x1f17", "a\x1fb\x1f17", "a\x1f" + "x" * 256, "a" * 64 + "\x1f17", 17]
)
def test_what_no_pair_makes_is_no_key(text):
    assert not is_key(text)


def test_no_client_can_name_a_job_of_another_namespace():
    assert not is_job_id("a\x1f17")


@pytest.mark.parametrize(
    ("job_id", "owner", "shown"),
    [
        ("17", "1", "1"),
        ("a\x1f17", "a\x1f1", "1"),
        ("a\x1f17", None, None),
        ("a\x1f17", "", ""),
        ("a\x1f17", "b\x1f1", ""),
        ("a\x1f17", "1", ""),
        ("17", "b\x1f1", ""),
    ],
)
def test_a_user_of_another_namespace_is_shown_as_nobody(job_id, owner, shown):
    job = Job(job_id=job_id, owner=owner).shown
    assert (job.job_id, job.owner) == ("17", shown)
