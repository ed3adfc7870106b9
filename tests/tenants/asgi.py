"""HTTP and WebSocket of the project with tenants."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tenants.settings")
http = get_asgi_application()

from immortus_channels.routing import websocket_application  # noqa: E402 - Django first

application = ProtocolTypeRouter({"http": http, "websocket": websocket_application})
