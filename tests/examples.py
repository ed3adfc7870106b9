"""How many examples Hypothesis tries: all of them, or a fifth in `make test` (`--hypothesis-profile quick`)."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

FULL = 100
"""The number of examples that Hypothesis itself takes by default."""


def register_profiles() -> None:
    """Let the command line know the quick profile."""
    settings.register_profile("quick", settings(), max_examples=FULL // 5, deadline=None)


def examples(number: int, **options: Any) -> settings:
    """So many examples in a full run, and the profile's share of them in another."""
    return settings(max_examples=max(1, number * settings().max_examples // FULL), deadline=None, **options)
