"""What an extra promises works on a bare machine: each is installed into an empty environment and put to its use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.servers import RedisServer, free_port
from tests.site import ROOT, Process, eventually

pytestmark = pytest.mark.slow

FILES = {
    "office/__init__.py": "from office.celery import app as celery_app\n",
    "office/celery.py": """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "office.settings")
app = Celery("office")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "office/settings.py": """
import os
from pathlib import Path
BASE_DIR = Path(__file__).parent.parent
SECRET_KEY = "for this test only"
DEBUG = True
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "immortus_channels",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "immortus_channels.middleware.JobOwnerMiddleware",
]
ROOT_URLCONF = "office.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
if "REDIS" in os.environ:
    CELERY_BROKER_URL = CELERY_RESULT_BACKEND = os.environ["REDIS"]
    ASGI_APPLICATION = "office.asgi.application"
    IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": os.environ["REDIS"]}}
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                "hosts": [{"address": os.environ["REDIS"], "socket_connect_timeout": 1, "socket_timeout": 1}]
            },
        }
    }
else:
    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT_OPTIONS = dict.fromkeys(
        ("data_folder_in", "data_folder_out", "control_folder"), str(BASE_DIR / "messages")
    )
""",
    "office/urls.py": """
from immortus_channels.urls import immortus_jobs
urlpatterns = immortus_jobs()
""",
    "office/asgi.py": """
import os
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from immortus_channels.routing import websocket_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "office.settings")
application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket_application})
""",
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "office.settings")
execute_from_command_line(sys.argv)
""",
    "messages/.keep": "",
}
DAPHNE = ("daphne", "-v", "0", "-p", "{port}", "office.asgi:application")
UVICORN = ("uvicorn", "--log-level", "warning", "--port", "{port}", "office.asgi:application")


class Bare:
    """An environment with nothing in it but what pip brings for these extras, and a project beside it."""

    def __init__(self, folder: Path, extras: str, stack: ExitStack) -> None:
        self.folder = folder
        self._python = folder / "venv" / "bin" / "python"
        self._stack = stack
        self.env = {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")
        }
        self._run(sys.executable, "-m", "venv", str(folder / "venv"))
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{ROOT}[{extras}]")
        done = subprocess.run([self._python, *install], env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            message = f"`pip install {extras}` failed; it needs a package index: {done.stderr[-500:]}"
            pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
        for name, text in FILES.items():
            path = folder / "site" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def manage(self, *arguments: str) -> str:
        """What the command prints, which must be content."""
        return self._run(str(self._python), "manage.py", *arguments)

    def start(self, *command: str) -> Process:
        """A process of this environment, until the test is over."""
        log = self.folder / f"{command[0]}.log"
        process = Process([str(self._python), "-m", *command], self.env, log, self.folder / "site")
        self._stack.callback(process.stop)
        return process

    def _run(self, *command: str) -> str:
        folder = self.folder / "site"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(command, cwd=folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def begin(bare: Bare) -> None:
    """Tables and a worker."""
    assert "immortus_channels" not in bare.manage("check", "--fail-level", "ERROR")
    bare.manage("migrate", "--verbosity", "0")
    bare.start("celery", "-A", "office", "worker", "--concurrency", "1", "--without-gossip", "--without-mingle")


@pytest.mark.redis
@pytest.mark.parametrize(("extras", "server"), [("celery,redis,daphne", DAPHNE), ("celery,redis,uvicorn", UVICORN)])
def test_with_redis_and_a_server_a_probe_goes_all_the_way(
    extras: str, server: tuple[str, ...], tmp_path: Path, stack: ExitStack
) -> None:
    bare = Bare(tmp_path, extras, stack)
    bare.env["REDIS"] = stack.enter_context(RedisServer()).url
    begin(bare)
    port = free_port()
    serving = bare.start(*(part.format(port=port) for part in server))
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: httpx.get(f"{url}/immortus/verify/none").status_code == 404, within=30)
    told = bare.manage("immortus_doctor", "--timeout", "30", "--url", url)
    assert [line.split()[0] for line in told.splitlines()] == ["ok"] * 6, told
    assert "Error" not in serving.output


def test_celery_alone_is_followed_over_the_file_system(tmp_path: Path, stack: ExitStack) -> None:
    bare = Bare(tmp_path, "celery", stack)
    begin(bare)
    told = bare.manage("immortus_doctor", "--timeout", "30")
    assert "ran the probe" in told


def test_the_example_serves_its_page(tmp_path: Path, stack: ExitStack) -> None:
    bare = Bare(tmp_path, "celery,daphne,example", stack)
    port = free_port()
    bare.env |= {"PORT": str(port), "DEMO_VAR": str(tmp_path / "var")}
    process = Process([str(tmp_path / "venv/bin/python"), str(ROOT / "example/serve.py")], bare.env, tmp_path / "log")
    stack.callback(process.stop)
    eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/").status_code == 200, within=60)
