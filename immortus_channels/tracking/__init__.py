"""The path of an event: strategy, then writer. Queue adapters, running jobs and readers of jobs enter here.

Nothing here raises into a job: failures are logged, and the job continues.
"""

from __future__ import annotations

from immortus_channels.tracking.commands import cancel, claim, lifted, touch
from immortus_channels.tracking.hooks import guarded, told_of
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
from immortus_channels.tracking.runs import begin, end, make_run, make_share, publish_meta
from immortus_channels.writer import drain

__all__ = [
    "as_it_stands",
    "ask_strategies",
    "begin",
    "brought_up_to_date",
    "cancel",
    "claim",
    "drain",
    "end",
    "guarded",
    "lifted",
    "listed",
    "make_run",
    "make_share",
    "on_record",
    "publish",
    "publish_end",
    "publish_meta",
    "read",
    "recheck",
    "renew",
    "told_of",
    "touch",
]
