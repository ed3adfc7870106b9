"""Sockets that give a slow reader one second, or are as LIMITS says: `uvicorn tests.impatient:application`."""

from __future__ import annotations

import json
import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
http = get_asgi_application()

from immortus_channels.access.limits import Limits  # noqa: E402 - Django first
from immortus_channels.websocket.consumer import JobConsumer  # noqa: E402

limits = Limits(**json.loads(os.environ.get("LIMITS", '{"ping": 0.3, "silence": 10.0, "slow": 1.0}')))
socket = JobConsumer.as_asgi(limits=limits)
routes = URLRouter([re_path(r"^ws/immortus/(?:(?P<job_id>[^/]+)/)?$", socket)])
application = ProtocolTypeRouter({"http": http, "websocket": AuthMiddlewareStack(routes)})
