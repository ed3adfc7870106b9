"""Slowing the demo down to what eyes can follow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from django.conf import settings

T = TypeVar("T")


def paced(items: Sequence[T], *, slower: float = 1) -> Iterator[T]:
    """Each item, spread over `DEMO_PACE` seconds times `slower`.

    Painting a tile takes some milliseconds; a demo that is over in a blink shows nothing.
    """
    share = settings.DEMO_PACE * slower / len(items)
    due = time.monotonic()
    for item in items:
        due += share
        yield item
        time.sleep(max(0.0, due - time.monotonic()))
