"""`JobHandle` at the path from which projects imported it before the package itself offered it."""

from __future__ import annotations

from immortus_channels.api.job import JobHandle

__all__ = ["JobHandle"]
