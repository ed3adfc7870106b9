"""HTTP and WebSocket of the project with seven queues."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.together.settings")
http = ASGIStaticFilesHandler(get_asgi_application())

from immortus_channels.routing import websocket_application  # noqa: E402 - Django first

application = ProtocolTypeRouter({"http": http, "websocket": websocket_application})
