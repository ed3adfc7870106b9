"""The path of an event: strategy, then writer. Queue adapters, running jobs and readers of jobs enter here.

Nothing here raises into a job: failures are logged, and the job continues.
"""

from __future__ import annotations

from immortus_channels.tracking.commands import cancel, claim, lifted, touch
from immortus_channels.tracking.hooks import attempt, job_in_hook
from immortus_channels.tracking.inquiry import publish_end
from immortus_channels.tracking.publisher import publish, renew
from immortus_channels.tracking.reader import (
    as_it_stands,
    ask_strategies,
    brought_up_to_date,
    listed,
    on_record,
    read,
    recheck,
)
from immortus_channels.tracking.runs import begin, end, make_run, publish_meta
from immortus_channels.writer import drain

__all__ = [
    "as_it_stands",
    "ask_strategies",
    "attempt",
    "begin",
    "brought_up_to_date",
    "cancel",
    "claim",
    "drain",
    "end",
    "job_in_hook",
    "lifted",
    "listed",
    "make_run",
    "on_record",
    "publish",
    "publish_end",
    "publish_meta",
    "read",
    "recheck",
    "renew",
    "touch",
]
