"""Which update begins the next step."""

from __future__ import annotations

import pytest

from immortus_channels.jobs.events import Created, Updated
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.jobs.progress import begins_step, begins_step_after_loop
from immortus_channels.writer.run import Run

T0 = 1_795_369_005_000_000

UPDATES = [
    ({}, False),
    ({"current": 4}, False),
    ({"current": 2}, False),
    ({"advance": 1}, False),
    ({"percentage": 40}, False),
    ({"total": 10}, True),
    ({"total": 7}, True),
    ({"total": 7, "current": 4}, True),
    ({"total": 10, "current": 4}, False),
    ({"total": 10, "current": 3}, False),
    ({"total": 10, "current": 2}, True),
    ({"total": 10, "current": 4, "percentage": 40}, False),
]
"""What follows on 3 of 10, and whether the next step begins with it."""


@pytest.mark.parametrize(("given", "expected"), UPDATES, ids=str)
def test_a_total_begins_a_step_unless_it_stays_and_current_goes_on(given, expected):
    assert begins_step(given.get("current"), given.get("total"), 3, 10) is expected


@pytest.mark.parametrize(("given", "expected"), UPDATES, ids=str)
def test_the_same_update_begins_a_step_inside_its_run_and_outside(given, expected):
    run = Run(job_id="a", job_class="task", run_id="r")
    run.update(current=3, total=10)
    inside, _ = run.take()
    run.update(**given)
    inside_after, _ = run.take()
    job = apply(apply(None, Created(job_id="a"), now=T0), Updated(job_id="a", current=3, total=10), now=T0)
    outside = apply(job, Updated(job_id="a", **given), now=T0)
    assert (inside_after.step - inside.step, outside.step - job.step) == (expected, expected)
    assert (inside_after.current, inside_after.total, inside_after.percentage) == (
        outside.current,
        outside.total,
        outside.given_percentage,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None, None, None), False),
        ((None, None, None, 100), False),
        ((None, None, None, 99.9), True),
        ((None, None, None, 0), True),
        ((0, None, None, None), True),
        ((None, 0, None, None), True),
        ((None, None, 0, 100), True),
    ],
)
def test_after_a_loop_any_number_but_a_full_bar_begins_a_step(given, expected):
    assert begins_step_after_loop(*given) is expected
