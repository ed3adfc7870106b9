"""The hub of a server process: it hears of every watched job once, and sends the news to all watchers."""

from __future__ import annotations

from immortus_channels.websocket.hub.hub import Hub, get_hub, layer_state

__all__ = ["Hub", "get_hub", "layer_state"]
