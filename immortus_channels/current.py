"""The run of a job in which code runs, apart from what a run is: whoever asks for it loads no writer."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

run: ContextVar[Any] = ContextVar("immortus_run", default=None)
"""The `Run` of `writer.run`; `current_run` is its typed name there."""
run_here = run.get
