"""The README's blocks and the push page's as they are printed, in the project that `startproject` makes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.pages_of_docs import README
from tests.pages_of_docs import page as page_of_docs
from tests.servers import RedisServer, free_port
from tests.site import ROOT, Process, eventually

pytestmark = [pytest.mark.redis, pytest.mark.slow]

REDIS = "redis://127.0.0.1:6379/0"
BROKER = """
CELERY_BROKER_URL = "{redis}"
INSTALLED_APPS += ["shop"]
"""
CELERY = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
URLS = """
from shop import views
urlpatterns += [path("", views.start), path("process", views.process), path("read", views.read)]
"""
TASKS = """
import time
from celery import shared_task

def tiles_of(path):
    return range(20)

def filter(tile):
    time.sleep(0.1)
"""
VIEWS = """
from django.shortcuts import render
from shop.tasks import process_image, read_rows

def start(request):
    return render(request, "start.html")

def read(request):
    return render(request, "process.html", {"job": read_rows.delay()})
"""
START = """<!doctype html><title>Start</title>
<form method="post" action="process">{% csrf_token %}<input name="path" value="cat.jpg"><button>Process</button></form>
<form method="post" action="read">{% csrf_token %}<button>Read</button></form>"""


def block(mark: str, number: int = 0) -> str:
    """The block of these pages in which this stands, the first one or a later one."""
    samples = [*README.samples, *page_of_docs("tutorial/push.md").samples]
    return [sample.text.replace("studio", "config") for sample in samples if mark in sample.text][number]


def as_task(snippet: str) -> str:
    """The lines of the snippet as a task, with time to look after each statement that stands by itself."""
    lines: list[str] = []
    for line in snippet.splitlines():
        lines.append(line)
        if line and not line.startswith((" ", "from", "for", "raise")):
            lines.append("time.sleep(0.6)")
    body = textwrap.indent("\n".join(lines).replace("    ...", "    time.sleep(0.1)"), "    ")
    return f"@shared_task\n@tracked\ndef read_rows():\n    rows = range(12)\n{body}\n"


class Shop:
    """The reader's project."""

    def __init__(self, folder: Path, redis: str) -> None:
        self.folder = folder
        self.redis = redis
        self.url = f"http://127.0.0.1:{free_port()}"
        self.env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONUNBUFFERED": "1"}
        self.env.pop("DJANGO_SETTINGS_MODULE", None)
        self.processes: list[Process] = []
        self.run("-m", "django", "startproject", "config", ".")
        self.run("manage.py", "startapp", "shop")

    def append(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}\n{text.replace(REDIS, self.redis)}")

    def run(self, *command: str) -> None:
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *command: str) -> None:
        log = self.folder / f"{command[0]}.log"
        self.processes.append(Process([sys.executable, "-m", *command], self.env, log, self.folder))

    def stop(self) -> None:
        for process in self.processes:
            process.stop()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Shop]:
    """The project after the README's first section and the push page, served by Daphne, with one worker."""
    shop = Shop(tmp_path_factory.mktemp("shop"), redis_server.url)
    shop.append("config/settings.py", BROKER.format(redis=redis_server.url))
    shop.append("config/__init__.py", "from config.celery import app as celery_app")
    shop.append("config/celery.py", CELERY)
    shop.append("config/settings.py", block('INSTALLED_APPS += ["immortus_channels"]'))
    shop.append("config/urls.py", URLS + block("urlpatterns += immortus_jobs()"))
    shop.append("shop/tasks.py", TASKS + block("def process_image(path)") + as_task(block("for row in job.track(rows")))
    shop.append("shop/views.py", VIEWS + block("def process(request)"))
    shop.append("shop/templates/start.html", START)
    shop.append("shop/templates/process.html", "<!doctype html><title>Job</title>" + block("{% immortus_job job %}"))
    shop.run("manage.py", "check", "--fail-level", "WARNING")
    shop.append("config/settings.py", block("CHANNEL_LAYERS"))
    (shop.folder / "config/asgi.py").write_text(block("application = ProtocolTypeRouter"))
    # Neither server serves static files; what is left to the web server or WhiteNoise is WhiteNoise here.
    shop.append("config/settings.py", "MIDDLEWARE.insert(1, 'whitenoise.middleware.WhiteNoiseMiddleware')")
    shop.append("config/settings.py", "WHITENOISE_USE_FINDERS = True")
    shop.run("manage.py", "check", "--fail-level", "WARNING")
    shop.run("manage.py", "migrate", "-v", "0")
    shop.start("celery", "-A", "config", "worker", "-c", "1", "--without-gossip", "--without-mingle")
    shop.start("daphne", "-v", "0", "-p", shop.url.rpartition(":")[2], "config.asgi:application")
    try:
        eventually(lambda: httpx.get(shop.url).status_code == 200, within=30)
        yield shop
    finally:
        shop.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(
        "window.seen = []; for (const kind of ['progress', 'done', 'failed'])"
        " addEventListener(`immortus:${kind}`, ({ detail: job }) => seen.push([job.percentage, job.message]), true)"
    )
    yield page
    context.close()


def test_the_ten_lines_and_the_push_page_make_a_pushed_bar(shop: Shop, page: Page) -> None:
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(str(data))))
    page.goto(shop.url)
    page.click("text=Process")
    page.wait_for_selector("immortus-job[state=finished]", timeout=30_000)
    assert sum('"message":"Filtering"' in frame for frame in frames) >= 5


def test_what_a_task_says_by_the_snippet_is_what_the_page_shows(shop: Shop, page: Page) -> None:
    page.goto(shop.url)
    page.click("text=Read")
    page.wait_for_selector("immortus-job[state=failed]", timeout=30_000)
    told = page.evaluate("window.seen")
    reading = [percentage for percentage, message in told if message == "Reading"]
    assert len(reading) >= 3
    assert reading == sorted(reading)
    assert [percentage for percentage, message in told if message == "Sorting"][:1] == [40]
    assert "Row 7 has no date." in str(page.text_content("immortus-job"))
    assert page.eval_on_selector("immortus-job progress", "(bar) => bar.value") == 40
