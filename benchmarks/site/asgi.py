"""HTTP and the sockets of every system, all behind the same middleware."""

from __future__ import annotations

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

http = get_asgi_application()

from celery_progress.websockets.routing import urlpatterns as celery_progress  # noqa: E402 - Django first

import benchmarks.site.celery  # noqa: E402, F401
from benchmarks.site.consumers import IdleConsumer, PlainConsumer  # noqa: E402
from immortus_channels.routing import websocket_urlpatterns  # noqa: E402

sockets = [
    *websocket_urlpatterns,
    *celery_progress,
    re_path(r"^ws/plain/(?P<job_id>[\w-]+)/$", PlainConsumer.as_asgi()),
    re_path(r"^ws/idle/(?P<job_id>[\w-]+)/$", IdleConsumer.as_asgi()),
]
application = ProtocolTypeRouter({"http": http, "websocket": AuthMiddlewareStack(URLRouter(sockets))})
