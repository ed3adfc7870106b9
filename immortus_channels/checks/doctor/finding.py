"""The doctor's findings, and their wording."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The condition of one part of the way, and what to do about it if it is not well."""

    part: str
    level: Level
    message: str
    hint: str = ""


def since(began: float) -> str:
    """Write the time since `began`, a time of the monotonic clock."""
    return f"{(time.monotonic() - began) * 1000:.0f} ms"


def reason_of(error: Exception) -> str:
    """Return an error as the reason of a finding."""
    return f"{type(error).__name__}: {error}" if str(error) else "no answer in time"
