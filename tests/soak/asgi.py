"""HTTP, and the sockets of one package or the other."""

from __future__ import annotations

import gc
import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.soak.settings")
http = get_asgi_application()

from immortus_channels.routing import websocket_application  # noqa: E402 - Django first

if "BESIDE" in os.environ:
    from celery_progress.websockets.routing import urlpatterns

    import tests.project.celery  # noqa: F401 - the consumer asks its result backend

    websocket_application = URLRouter(urlpatterns)
application = ProtocolTypeRouter({"http": http, "websocket": websocket_application})

# What is loaded now stays: the garbage collector need not look at it again and again.
gc.collect()
gc.freeze()
