"""The times that queues name, in microseconds since 1970."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from immortus_channels.queues.moments import due

NOON = datetime.fromisoformat("2030-01-02T12:00:00.345678")
UTC_NOON = 1_893_585_600_345_678


@pytest.fixture
def in_tokyo(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_job_without_a_time_is_not_due_at_any():
    assert due(None) is None


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=2))])
def test_a_time_with_a_zone_is_that_moment(zone):
    assert due(NOON.replace(tzinfo=UTC).astimezone(zone)) == UTC_NOON


def test_a_time_without_a_zone_is_the_host_s_or_utc(in_tokyo):
    assert due(NOON) == UTC_NOON - 9 * 3_600_000_000
    assert due(NOON, is_utc=True) == UTC_NOON
    assert due(NOON.replace(tzinfo=UTC), is_utc=True) == UTC_NOON


@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)])
def test_a_delay_counts_from_now(delay):
    expected = (time.time() + 90) * 1_000_000
    assert due(delay) == pytest.approx(expected, abs=1_000_000)
