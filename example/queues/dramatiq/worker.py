"""What `dramatiq queues.dramatiq.worker` imports: Django, the broker and the actors."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from queues.dramatiq import tasks  # noqa: E402, F401 - they need Django
from queues.dramatiq.broker import broker  # noqa: E402, F401 - Dramatiq looks for it here
