"""The path of an event: strategy, then writer. Queue adapters, running jobs and readers of jobs enter here.

Nothing here raises into a job: failures are logged, and the job continues.
"""

from __future__ import annotations

from immortus_channels.tracking.commands import cancel, claim, lift_above, touch
from immortus_channels.tracking.hooks import call_safely, job_in_hook
from immortus_channels.tracking.inquiry import publish_end
from immortus_channels.tracking.publisher import apublish, publish, publish_here, renew
from immortus_channels.tracking.reader import (
    ask_strategies,
    bring_up_to_date,
    list_jobs,
    on_record,
    present_state,
    read,
    recheck,
)
from immortus_channels.tracking.runs import abegin, begin, end, is_at_work, make_run, make_share, publish_meta
from immortus_channels.tracking.soon import drain

__all__ = [
    "abegin",
    "apublish",
    "ask_strategies",
    "begin",
    "bring_up_to_date",
    "call_safely",
    "cancel",
    "claim",
    "drain",
    "end",
    "is_at_work",
    "job_in_hook",
    "lift_above",
    "list_jobs",
    "make_run",
    "make_share",
    "on_record",
    "present_state",
    "publish",
    "publish_end",
    "publish_here",
    "publish_meta",
    "read",
    "recheck",
    "renew",
    "touch",
]
