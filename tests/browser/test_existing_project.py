"""A project that never heard of this package gets a live bar by the README's few lines."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.office import ASGI, LAYER, WORKER, Office
from tests.servers import RedisServer, free_port
from tests.site import ROOT, eventually

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.slow]

BEFORE = {
    "office/settings.py": """
import os
from pathlib import Path
BASE_DIR = Path(__file__).parent.parent
SECRET_KEY = "for this test only"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "images",
]
MIDDLEWARE = [
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
CSRF_USE_SESSIONS = True
ROOT_URLCONF = "office.urls"
LOGIN_URL = "/intranet/login/"
STATIC_URL = "/intranet/static/"
WHITENOISE_USE_FINDERS = True
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
}]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3", "ATOMIC_REQUESTS": True,
    "OPTIONS": {"timeout": 10},
}}
CELERY_BROKER_URL = os.environ["BROKER_URL"]
""",
    "office/urls.py": """
from django.contrib.auth.views import LoginView
from django.urls import include, path
from images import views
urlpatterns = [
    path("intranet/", include([
        path("login/", LoginView.as_view(template_name="images/login.html", next_page="/intranet/")),
        path("", views.start),
        path("process", views.process),
    ])),
]
""",
    "office/wsgi.py": """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "office.settings")
application = get_wsgi_application()
""",
    "images/__init__.py": "",
    "images/tasks.py": """
import time
from celery import shared_task

@shared_task
def process_image(path):
    for tile in range(20):
        time.sleep(0.2)
""",
    "images/views.py": """
from django.shortcuts import render
from images.tasks import process_image

def start(request):
    return render(request, "images/start.html")

def process(request):
    return render(request, "images/process.html", {"job": process_image.delay(request.POST["path"])})
""",
    "images/templates/images/start.html": """<!doctype html><title>Start</title>
<form method="post" action="process">{% csrf_token %}<input name="path" value="cat.jpg"><button>Go</button></form>""",
    "images/templates/images/login.html": """<!doctype html><title>Log in</title>
<form method="post">{% csrf_token %}{{ form }}<button>Log in</button></form>""",
    "images/templates/images/process.html": """<!doctype html><title>Processing</title>
<h1>Your image</h1>
""",
}

# The README's first section: file, what stands there, what stands there afterwards (None: appended).
LINES = [
    ("office/settings.py", None, 'INSTALLED_APPS += ["immortus_channels"]'),
    ("office/settings.py", None, 'MIDDLEWARE += ["immortus_channels.middleware.JobOwnerMiddleware"]'),
    ("office/urls.py", "import views", "import views\nfrom immortus_channels.urls import immortus_jobs"),
    ("office/urls.py", '        path("", views.start),', '        *immortus_jobs(), path("", views.start),'),
    ("images/tasks.py", "import shared_task", "import shared_task\nfrom immortus_channels import current_job, tracked"),
    ("images/tasks.py", "@shared_task", "@shared_task\n@tracked"),
    ("images/tasks.py", "in range(20):", 'in current_job().track(range(20), message="Filtering"):'),
    ("images/templates/images/process.html", None, "{% load immortus %}"),
    ("images/templates/images/process.html", None, "{% immortus_script %}"),
    ("images/templates/images/process.html", None, "{% immortus_job job %}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "BROKER_URL": f"{redis_server.url[:-1]}9"}
    office = Office(folder, BEFORE, env)
    office.manage("migrate", "-v", "0")
    for change in LINES:
        office.change(*change)
    office.manage("check", "--fail-level", "WARNING")
    office.manage("migrate", "-v", "0")
    office.manage(
        "shell", "-c", "from django.contrib.auth.models import User; User.objects.create_user('ann', password='x')"
    )
    yield office
    office.stop()


@pytest.fixture
def address(office: Office) -> Iterator[str]:
    """Where its web server is to listen; what the test starts ends with it."""
    yield f"127.0.0.1:{free_port()}"
    office.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def watch_a_job(address: str, page: Page) -> list[str]:
    """Log in, start a job, and see it end; the percentages its bar showed."""
    login = f"http://{address}/intranet/login/"
    eventually(lambda: httpx.get(login).status_code == 200, within=30)
    page.goto(login)
    page.fill("[name=username]", "ann")
    page.fill("[name=password]", "x")
    page.click("button")
    page.add_init_script(
        "addEventListener('immortus:progress', (e) => (window.seen ??= new Set()).add(e.detail.percentage), true)"
    )
    page.click("button")
    page.wait_for_selector("immortus-job[state=finished]", timeout=30000)
    assert page.text_content("[data-immortus=percentage]").replace(" ", "") in {"100%", "100.0%"}
    seen: list[str] = page.evaluate("[...window.seen]")
    return seen


def test_ten_changed_lines_make_a_live_bar_that_polls(office: Office, address: str, page: Page) -> None:
    assert (
        sum(
            len(after.splitlines()) - (len((before or "").splitlines()) if before and after.startswith(before) else 0)
            for _, before, after in LINES
        )
        <= 10
    )
    office.start("gunicorn", "-b", address, "--threads", "4", "office.wsgi")
    office.start(*WORKER)
    assert len(watch_a_job(address, page)) >= 4


def test_the_second_section_makes_it_push(office: Office, address: str, page: Page) -> None:
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(str(data))))
    for name, text in ASGI.items():
        office.write(name, text)
    office.change("office/settings.py", None, LAYER)
    office.manage("check", "--fail-level", "WARNING")
    office.start("uvicorn", "--port", address.rpartition(":")[2], "office.asgi:application")
    office.start(*WORKER)
    assert len(watch_a_job(address, page)) >= 10
    assert sum('"type":"job"' in frame for frame in frames) >= 10
