"""HTTP and WebSocket, for Daphne, Uvicorn or any other ASGI server."""

from __future__ import annotations

import gc
import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

from immortus_channels.routing import websocket_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket_application})

# What is loaded now stays: the garbage collector need not look at it again and again.
gc.collect()
gc.freeze()
