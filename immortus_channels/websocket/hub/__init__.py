"""The hub of a server process: it hears of every watched job once, and sends the news to all watchers."""

from __future__ import annotations

from immortus_channels.websocket.hub.hub import Hub, get_hub, layer_state
from immortus_channels.websocket.shutdown import get_drain, is_draining

__all__ = ["Hub", "get_drain", "get_hub", "is_draining", "layer_state"]
