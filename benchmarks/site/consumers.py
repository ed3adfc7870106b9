"""What ours is compared with on the same server: the consumer of the Channels tutorial, and one that does nothing."""

from __future__ import annotations

import json
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer


class PlainConsumer(AsyncWebsocketConsumer):
    """One group per job; each socket is a member and encodes what it is told."""

    async def connect(self) -> None:
        """Join the group of the job in the address."""
        self.group = "job_" + self.scope["url_route"]["kwargs"]["job_id"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave it."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def job_changed(self, event: dict[str, Any]) -> None:
        """Tell the socket."""
        await self.send(text_data=json.dumps(event["job"]))


class IdleConsumer(AsyncWebsocketConsumer):
    """Accepts and says nothing."""

    channel_layer_alias = None
