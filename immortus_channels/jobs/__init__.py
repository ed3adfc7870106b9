"""The job itself: its states, the events that change it, and the rules for that. Nothing here does I/O."""

from __future__ import annotations

from immortus_channels.jobs.job import Error, Job, State

__all__ = ["Error", "Job", "State"]
