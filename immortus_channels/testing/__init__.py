"""For the tests of projects that use this package: what jobs published, and networks and layers that misbehave.

The rest of the package imports none of it, and none of it needs a test runner.
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
