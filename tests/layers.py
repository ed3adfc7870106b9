"""Channel layers that misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.layers import BaseChannelLayer


class DeafLayer(BaseChannelLayer):  # type: ignore[misc]
    """Takes everything and delivers nothing."""

    extensions = ("groups",)

    def __init__(self, **_: Any) -> None:
        super().__init__()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Lose it."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Lose it."""

    async def group_add(self, group: str, channel: str) -> None:
        """Say yes."""

    async def group_discard(self, group: str, channel: str) -> None:
        """Say yes."""

    async def new_channel(self, prefix: str = "deaf.") -> str:
        """Any name does."""
        return f"{prefix}!channel"

    async def receive(self, channel: str) -> dict[str, Any]:
        """Never return."""
        await asyncio.Event().wait()
        raise AssertionError
