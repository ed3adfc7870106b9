"""Three real photographs for those who have none at hand; all may be used freely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "static" / "photos" / "samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A photograph that comes with the demo, and whom to thank for it."""

    slug: str
    title: str
    credit: str

    @property
    def file(self) -> Path:
        """Where it lies."""
        return FOLDER / f"{self.slug}.jpg"

    @property
    def static(self) -> str:
        """Its path among the static files."""
        return f"photos/samples/{self.slug}.jpg"


SAMPLES = {
    sample.slug: sample
    for sample in (
        Sample(slug="chelsea", title="Chelsea", credit="S. van der Walt, CC0"),
        Sample(slug="coffee", title="Coffee", credit="R. Michetti, CC0"),
        Sample(slug="hubble", title="Hubble Deep Field", credit="NASA/ESA, public domain"),
    )
}
