"""What is made once in a run and then copied: migrated databases, clusters of database servers."""

from __future__ import annotations

import atexit
import fcntl
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

folder: Path | None = None
"""Where they are kept; all processes of a test run have the same."""


def copy(name: str, make: Callable[[Path], object], target: Path) -> None:
    """Make `target` a copy of this template, with owners and rights; whoever comes first makes the template."""
    subprocess.run(["cp", "-aT", str(_made(name, make)), str(target)], check=True)


def _made(name: str, make: Callable[[Path], object]) -> Path:
    """The template; processes that want it at once wait for the one that makes it."""
    there = folder or _own_folder()
    template, done = there / name, there / f"{name}.done"
    with (there / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(template)
            done.touch()
    return template


@functools.cache
def _own_folder() -> Path:
    """A folder for this process alone, such as a benchmark's, removed with it."""
    made = Path(tempfile.mkdtemp(prefix="immortus-templates-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
