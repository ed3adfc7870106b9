"""The next step of progress, and when it begins: one rule for a run's own reports and for updates from outside it.

The functions take plain numbers because a run calls them in hot loops, where a value object for the progress before and
after would cost more than the update itself.
"""

from __future__ import annotations

from immortus_channels.jobs.job import Number

_FULL = 100


def begins_step(
    current: Number | None, total: Number | None, current_before: Number, total_before: Number | None
) -> bool:
    """Return whether an update to `current` and `total` begins the next step; None leaves a number as it is.

    A total does. The same total again, with a current that grows, is the same step: many tasks set both in every round.
    """
    if total is None:
        return False
    return total != total_before or current is None or current < current_before


def begins_step_after_loop(
    current: Number | None, total: Number | None, advance: Number | None, percentage: float | None
) -> bool:
    """Return whether an update after the end of a loop begins the next step.

    Any number does, except for the 100 % that a full bar shows anyway.
    """
    if current is None and total is None and advance is None:
        return percentage is not None and percentage < _FULL
    return True
