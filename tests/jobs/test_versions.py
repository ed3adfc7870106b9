"""Versions from outside: a clock that is a little off is believed, a day is not."""

from __future__ import annotations

import time

import pytest

from immortus_channels.jobs.versions import is_believable

MINUTE = 60_000_000
DAY = 24 * 60 * MINUTE


@pytest.mark.parametrize("ahead", [-50 * 365 * DAY, -DAY, 0, MINUTE, 9 * MINUTE])
def test_what_a_store_may_have_given_out_is_believed(ahead):
    assert is_believable(time.time_ns() // 1000 + ahead)


@pytest.mark.parametrize("ahead", [11 * MINUTE, 60 * MINUTE, DAY, 2**53 - 1, 2**63])
def test_what_is_far_ahead_is_not(ahead):
    assert not is_believable(time.time_ns() // 1000 + ahead)
