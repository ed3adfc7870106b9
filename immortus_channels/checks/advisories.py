"""Known vulnerabilities of dependencies: below these releases, an attacker may harm a project through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Release = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A vulnerability, and the first release of each series without it; the lowest is the least to install."""

    package: str
    fixed: Sequence[Release]
    names: Sequence[str]
    harm: str

    def concerns(self, installed: Release) -> bool:
        """Return whether this release has the vulnerability."""
        same = [fixed for fixed in self.fixed if fixed[:2] == installed[:2]]
        return installed < (same[0] if same else min(self.fixed))

    @property
    def hint(self) -> str:
        """The releases to choose from."""
        return " or ".join(".".join(map(str, release)) for release in self.fixed)


ADVISORIES = (
    Advisory(
        package="Django",
        fixed=[(5, 2, 16), (6, 0, 7)],
        names=["CVE-2026-48588", "CVE-2026-3902", "CVE-2025-14550"],
        harm="lets shared caches keep private answers, and clients pass off headers as a proxy's",
    ),
    Advisory(
        package="asgiref",
        fixed=[(3, 11, 1)],
        names=["CVE-2025-14550"],
        harm="can be kept busy by a header that repeats",
    ),
    Advisory(
        package="Twisted",
        fixed=[(26, 4, 0)],
        names=["CVE-2026-42304"],
        harm="can be kept busy by a crafted DNS answer",
    ),
)
"""Daphne's have a check of their own, only for projects that it serves."""
