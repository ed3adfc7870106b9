"""A dict that forgets its oldest keys, so that values kept by user, job or message take bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

Key = TypeVar("Key")
Kept = TypeVar("Kept")


class Recent(OrderedDict[Key, Kept]):
    """A dict of the keys that were set most recently. Threads that set one key after reading it need a lock."""

    def __init__(self, most: int = 10_000) -> None:
        """Keep `most` keys."""
        super().__init__()
        self._most = most

    def __setitem__(self, key: Key, kept: Kept) -> None:
        """Keep this as the newest; drop the oldest if there are too many."""
        self.pop(key, None)
        super().__setitem__(key, kept)
        if len(self) > self._most:
            self.popitem(last=False)
