"""A project that people might have, `office`: Django and Celery in a folder of its own, with its processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.site import Process

CELERY = {
    "office/__init__.py": "from office.celery import app as celery_app\n",
    "office/celery.py": """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "office.settings")
app = Celery("office")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
}
ASGI = {
    "office/asgi.py": """
import os
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "office.settings")
django_application = get_asgi_application()
from immortus_channels.routing import websocket_application
application = ProtocolTypeRouter({"http": django_application, "websocket": websocket_application})
""",
}
LAYER = """
CHANNEL_LAYERS = {"default": {
    "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "CONFIG": {"hosts": [{"address": os.environ["BROKER_URL"], "socket_connect_timeout": 1, "socket_timeout": 1}]},
}}
"""
WORKER = ("celery", "-A", "office", "worker", "-c", "1", "--without-gossip", "--without-mingle")


class Office:
    """The project's folder, and what runs in it by this interpreter in this environment."""

    def __init__(
        self, folder: Path, files: Mapping[str, str], env: Mapping[str, str], python: Path | str = sys.executable
    ) -> None:
        self.folder = folder
        self.env = {**env, "DJANGO_SETTINGS_MODULE": "office.settings", "PYTHONUNBUFFERED": "1"}
        self._python = str(python)
        self._processes: list[Process] = []
        for name, text in (CELERY | dict(files)).items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Make or replace a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def change(self, name: str, before: str | None, after: str) -> None:
        """Replace what stands there once, or append."""
        text = (self.folder / name).read_text()
        assert before is None or text.count(before) == 1
        self.write(name, f"{text}\n{after}\n" if before is None else text.replace(before, after))

    def manage(self, *arguments: str) -> str:
        """What a management command prints, which must be content."""
        command = [self._python, "-m", "django", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *command: str) -> Process:
        """A process of the project, until it is told to stop."""
        log = self.folder / f"{command[0]}.log"
        self._processes.append(Process([self._python, "-m", *command], self.env, log, self.folder))
        return self._processes[-1]

    def stop(self) -> None:
        """End all of them."""
        for process in self._processes:
            process.stop()
        self._processes.clear()
