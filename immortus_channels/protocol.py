"""What both transports of the protocol `immortus.v1` say alike."""

from __future__ import annotations

MAX_JOBS = 100
"""Jobs that one socket may watch, and that one request may name."""

UNKNOWN_JOB = "There is no such job, or you are not allowed to see it."
STRATEGY_ERROR = "The state of this job is not available."
TOKEN_EXPIRED = "This access token has expired."  # noqa: S105 - a sentence
