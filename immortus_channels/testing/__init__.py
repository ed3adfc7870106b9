"""For the tests of those who use this package: what jobs told in a test, and networks and layers that misbehave.

Nothing here is imported by the rest of the package, and nothing here needs a test runner.
"""

from __future__ import annotations

from immortus_channels.testing.faults import Answer, Faults
from immortus_channels.testing.history import Finding, History, Staleness
from immortus_channels.testing.layers import FaultyChannelLayer, LayerFaults
from immortus_channels.testing.proxy import FaultyProxy
from immortus_channels.testing.recording import RecordedJobs, recorded_jobs

__all__ = [
    "Answer",
    "Faults",
    "FaultyChannelLayer",
    "FaultyProxy",
    "Finding",
    "History",
    "LayerFaults",
    "RecordedJobs",
    "Staleness",
    "recorded_jobs",
]
