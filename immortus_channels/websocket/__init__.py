"""The WebSocket's end on the server."""

from __future__ import annotations

from immortus_channels.websocket.consumer import JobConsumer

__all__ = ["JobConsumer"]
