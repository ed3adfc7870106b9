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

from tests.office import ASGI, LAYER, WORKER, Office
from tests.servers import RedisServer, free_port
from tests.site import ROOT, Process, eventually

pytestmark = pytest.mark.slow

FILES = {
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
""",
    "office/urls.py": """
from immortus_channels.urls import immortus_jobs
urlpatterns = immortus_jobs()
""",
    "messages/.keep": "",
}
ON_FILES = """
CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = dict.fromkeys(
    ("data_folder_in", "data_folder_out", "control_folder"), str(BASE_DIR / "messages")
)
"""
ON_REDIS = """
CELERY_BROKER_URL = CELERY_RESULT_BACKEND = os.environ["BROKER_URL"]
ASGI_APPLICATION = "office.asgi.application"
IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": os.environ["BROKER_URL"]}}
"""
DAPHNE = ("daphne", "-v", "0", "-p", "{port}", "office.asgi:application")
UVICORN = ("uvicorn", "--log-level", "warning", "--port", "{port}", "office.asgi:application")


def bare(folder: Path, extras: str, stack: ExitStack) -> Office:
    """The project in an environment with nothing in it but what pip brings for these extras."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")}
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], env=env, check=True)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{ROOT}[{extras}]")
    done = subprocess.run([python, *install], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"`pip install {extras}` failed; it needs a package index: {done.stderr[-500:]}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    office = Office(folder / "site", FILES, env, python)
    stack.callback(office.stop)
    return office


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def begin(office: Office) -> None:
    """Tables and a worker."""
    assert "immortus_channels" not in office.manage("check", "--fail-level", "ERROR")
    office.manage("migrate", "--verbosity", "0")
    office.start(*WORKER)


@pytest.mark.redis
@pytest.mark.parametrize(("extras", "server"), [("celery,redis,daphne", DAPHNE), ("celery,redis,uvicorn", UVICORN)])
def test_with_redis_and_a_server_a_probe_goes_all_the_way(
    extras: str, server: tuple[str, ...], tmp_path: Path, stack: ExitStack
) -> None:
    office = bare(tmp_path, extras, stack)
    office.env["BROKER_URL"] = stack.enter_context(RedisServer()).url
    office.change("office/settings.py", None, ON_REDIS + LAYER)
    for name, text in ASGI.items():
        office.write(name, text)
    begin(office)
    port = free_port()
    serving = office.start(*(part.format(port=port) for part in server))
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: httpx.get(f"{url}/immortus/verify/none").status_code == 404, within=30)
    told = office.manage("immortus_doctor", "--timeout", "30", "--url", url)
    assert [line.split()[0] for line in told.splitlines()] == ["ok"] * 6, told
    assert "Error" not in serving.output


def test_celery_alone_is_followed_over_the_file_system(tmp_path: Path, stack: ExitStack) -> None:
    office = bare(tmp_path, "celery", stack)
    office.change("office/settings.py", None, ON_FILES)
    begin(office)
    told = office.manage("immortus_doctor", "--timeout", "30")
    assert "ran the probe" in told


def test_the_example_serves_its_page(tmp_path: Path, stack: ExitStack) -> None:
    office = bare(tmp_path, "celery,daphne,example", stack)
    port = free_port()
    env = {**office.env, "PORT": str(port), "DEMO_VAR": str(tmp_path / "var")}
    process = Process([str(tmp_path / "venv/bin/python"), str(ROOT / "example/serve.py")], env, tmp_path / "log")
    stack.callback(process.stop)
    eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/").status_code == 200, within=60)
