"""Questions about one job are let through at a pace."""

from __future__ import annotations

from immortus_channels.tracking.throttle import Pace


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_question_is_due_once_in_an_interval_and_for_each_job():
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.is_due("a", 5)
    assert not pace.is_due("a", 5)
    assert pace.is_due("b", 5)
    clock.now = 5
    assert pace.is_due("a", 5)


def test_the_remaining_time_counts_from_the_last_question_let_through():
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.remaining("a", 5) <= 0
    assert pace.is_due("a", 5)
    clock.now = 2
    assert not pace.is_due("a", 5)
    assert pace.remaining("a", 5) == 3
    clock.now = 6
    assert pace.remaining("a", 5) <= 0


def test_the_oldest_question_is_forgotten_first():
    pace = Pace(remembered=2, clock=Clock())
    assert [pace.is_due(job_id, 5) for job_id in ("a", "b", "c", "b", "a")] == [True, True, True, False, True]
