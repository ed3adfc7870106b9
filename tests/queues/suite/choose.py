"""Which runs of the suite a change asks for: `python -m tests.queues.suite.choose` prints them for pytest.

A kept run knows of which files it was. A queue whose adapter or driver has changed since is run again. Where the port
or the suite has changed, all others are run in the short form of `make test`. One more queue is run each day, in turn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
KEPT = Path(__file__).parent / "runs"
_OF_THE_DOCTOR = ("probe.py", "probing.py")
"""The files of adapters that no case meets."""
SHORT = "returns or raises or retried_then_finished or cancelled_while_waiting or rolled_back or test_killed"
"""The cases of the short form, in the words of pytest's `-k`."""

Run = Mapping[str, Any]


def digests(module: str) -> dict[str, str]:
    """Return what the files say on which a run depends: those of its queue alone, and those of all queues."""
    name = module.removeprefix("test_")
    package = ROOT / "immortus_channels"
    own = [*(package / "queues").glob(f"{name}.py"), *(package / "queues" / name).rglob("*.py")]
    own += Path(__file__).parent.glob(f"*{name}*.py")
    shared = [*(package / "queues").glob("*.py"), *(package / "testing" / "queues").rglob("*.py")]
    return {"own": _digest(own), "shared": _digest(shared)}


def _digest(files: Sequence[Path]) -> str:
    digest = blake2b(digest_size=8)
    for file in sorted(file for file in set(files) if file.name not in _OF_THE_DOCTOR):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def runs() -> dict[str, Run]:
    """Return the kept runs by their names, such as `test_huey.TestProcesses`."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))}


def chosen(kept: Mapping[str, Run], day: int) -> tuple[list[str], list[str]]:
    """Return the names of the runs to repeat as a whole, and of those to repeat in the short form."""
    now = {name: digests(name.partition(".")[0]) for name in kept}
    whole = [name for name, run in kept.items() if run["of"]["own"] != now[name]["own"]]
    in_turn = sorted(kept)[day % len(kept)] if kept else None
    whole += [in_turn] if in_turn is not None and in_turn not in whole else []
    changed = [name for name, run in kept.items() if run["of"]["shared"] != now[name]["shared"]]
    return whole, [name for name in changed if name not in whole]


def is_installed(run: Run) -> bool:
    """Return whether all packages of a run are installed here, for one of its pairs: some exclude each other."""
    return any(all(map(_is_here, packages)) for packages in run["packages"].values())


def _is_here(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def arguments(names: Sequence[str]) -> Iterator[str]:
    """Yield what pytest is to run."""
    for name in names:
        module, _, kind = name.partition(".")
        yield f"tests/queues/suite/{module}.py::{kind}"


def main() -> None:
    """Print the whole runs, with `--short` the short ones, as pytest's arguments; with `--words` those of its `-k`."""
    if "--words" in sys.argv:
        sys.stdout.write(SHORT + "\n")
        return
    kept = {name: run for name, run in runs().items() if is_installed(run)}
    whole, short = chosen(kept, datetime.now(UTC).date().toordinal())
    sys.stdout.write(" ".join(arguments(short if "--short" in sys.argv else whole)) + "\n")


if __name__ == "__main__":
    main()
