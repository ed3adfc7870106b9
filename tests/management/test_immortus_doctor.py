"""`manage.py immortus_doctor`: one job followed all the way."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from typing import Any

import httpx
import pytest
from celery import Celery, _state
from channels.layers import InMemoryChannelLayer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.management import CommandError, call_command
from django.db import connections

from immortus_channels import queues
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.queues.celery.probe import probe
from immortus_channels.routing import websocket_application
from immortus_channels.stores import get_store
from immortus_channels.stores.memory import MemoryStore
from immortus_channels.urls import immortus_jobs
from tests.servers import RedisServer, add_database, free_port
from tests.site import ROOT, Process, Site, eventually, redis_options, running_site

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = immortus_jobs()
whole = ProtocolTypeRouter({"websocket": websocket_application})
elsewhere = ProtocolTypeRouter({"websocket": URLRouter([])})


class SharedLayer(InMemoryChannelLayer):
    """A layer that brings what is sent in this process."""


class SlowLayer(InMemoryChannelLayer):
    """A layer that takes its time before it brings anything."""

    async def group_add(self, group: str, channel: str) -> None:
        await asyncio.sleep(0.2)
        await super().group_add(group, channel)


class Down(MemoryStore):
    """A store that is not there."""

    def get_many(self, job_ids):
        msg = "connection refused"
        raise StoreUnavailable(msg)


class Frozen(MemoryStore):
    """A store that does not answer until it has thawed."""

    thawed = threading.Event()

    def get_many(self, job_ids):
        self.thawed.wait(30)
        return super().get_many(job_ids)


@pytest.fixture(autouse=True)
def _calls_end_with_their_test(celery_app, project):
    """While a task runs eagerly, even one that is not waited for any more, Celery lets nobody ask for a result."""
    Frozen.thawed.clear()
    yield
    Frozen.thawed.set()
    for thread in threading.enumerate():
        if thread.name == "immortus-call":
            thread.join(10)
    assert not _state.task_join_will_block()


@pytest.fixture(autouse=True)
def celery_app(monkeypatch):
    """A Celery app that runs its tasks at once."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True
    monkeypatch.setattr(_state, "default_app", app)
    monkeypatch.setattr(_state._tls, "current_app", app)
    return app


@pytest.fixture(autouse=True)
def project(settings, celery_alone):
    """A healthy project that keeps its jobs here, so that the doctor's threads see them."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "immortus_channels.middleware.JobOwnerMiddleware"]
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_ACCESS = "owner"
    return settings


def diagnosis(**options: Any) -> tuple[bool, dict[str, tuple[str, str]]]:
    """Whether the command succeeded, and by part the verdict and what was told of it, cure included."""
    out = StringIO()
    status = 0
    try:
        call_command("immortus_doctor", stdout=out, no_color=True, **{"timeout": 0.5, **options})
    except CommandError as error:
        status = error.returncode
    parts: dict[str, tuple[str, str]] = {}
    part = ""
    for line in out.getvalue().splitlines():
        if line.startswith(" "):
            parts[part] = (parts[part][0], f"{parts[part][1]} {line.strip()}")
        else:
            verdict, part, told = line.split(maxsplit=2)
            parts[part] = (verdict, told)
    return status == 0, parts


def wrong(**options: Any) -> dict[str, str]:
    """What is wrong; the exit status agrees, and each has a cure."""
    is_well, parts = diagnosis(**options)
    found = {part: told for part, (verdict, told) in parts.items() if verdict == "wrong"}
    assert is_well == (not found)
    assert all("→" in told for told in found.values())
    return found


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused_before_anything_is_tried(timeout):
    out = StringIO()
    with pytest.raises(CommandError, match=r"--timeout is .* a finite number of seconds above 0"):
        call_command("immortus_doctor", timeout=timeout, stdout=out)
    assert out.getvalue() == ""


def test_each_part_of_a_healthy_project_is_ok(settings):
    settings.ASGI_APPLICATION = f"{__name__}.whole"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.SharedLayer"}}
    is_well, parts = diagnosis()
    assert is_well
    expected = ["settings", "store", "queue", "worker", "layer", "socket"]
    assert [(part, verdict) for part, (verdict, _) in parts.items() if part != "settings"] == [
        (part, "ok") for part in expected[1:]
    ]
    assert list(parts) == expected


def test_no_probe_is_sent_before_the_layer_is_listened_to(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.SlowLayer"}}
    assert diagnosis()[1]["layer"][0] == "ok"


def test_a_project_without_layer_and_asgi_is_told_what_happens_instead():
    is_well, parts = diagnosis()
    assert is_well
    assert "re-check" in parts["layer"][1]
    assert "poll" in parts["socket"][1]


# Settings


def test_what_the_checks_find_is_wrong_and_told_with_its_cure(settings):
    settings.IMMORTUS_ACCESS = "everybody"
    assert "'everybody'" in wrong()["settings"]


def test_a_warning_is_told_and_fails_nothing(settings):
    settings.MIDDLEWARE = []
    is_well, parts = diagnosis()
    assert is_well
    assert parts["settings"][0] == "note"


# Store


@pytest.mark.parametrize(("store", "told"), [("Down", "connection refused"), ("Frozen", "no answer in time")])
def test_a_store_that_does_not_answer_is_found_in_time_and_no_job_is_sent(settings, store, told):
    settings.IMMORTUS_STORE = {"BACKEND": f"{__name__}.{store}"}
    began = time.monotonic()
    is_well, parts = diagnosis()
    assert not is_well
    assert parts["store"][0] == "wrong"
    assert told in parts["store"][1]
    assert parts["queue"][0] == "note"
    assert "worker" not in parts
    assert time.monotonic() - began < 3


@pytest.fixture
def lonely(postgres, django_db_blocker):
    """The alias of a database that allows one connection at a time."""
    with django_db_blocker.unblock():
        add_database("lonely", {**postgres.database, "USER": "lonely"})
        add_database("owner", postgres.database)
        call_command("migrate", "immortus_channels", database="owner", verbosity=0)
        with connections["owner"].cursor() as cursor:
            cursor.execute("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data")
        yield "lonely"
        with connections["owner"].cursor() as cursor:
            cursor.execute("DROP ROLE lonely")
        connections["owner"].close()


def test_the_doctor_finds_why_a_store_answers_readers_but_not_writers(settings, lonely):
    settings.IMMORTUS_STORE = {"BACKEND": "database", "OPTIONS": {"using": lonely}}
    is_well, parts = diagnosis()
    assert not is_well
    assert parts["store"][0] == "wrong"
    assert "jobs are written" in parts["store"][1]
    assert "too many connections" in parts["store"][1]
    assert parts["queue"][0] == "note"
    assert "layer" not in parts


# Queue


def test_a_project_without_a_queue_is_told_how_to_get_one(monkeypatch):
    monkeypatch.setattr(queues, "connected", [])
    assert "pip install immortus-channels[celery]" in wrong()["queue"]


def test_a_broker_that_cannot_be_reached_is_found(celery_app):
    celery_app.conf.update(task_always_eager=False, broker_url="redis://127.0.0.1:1/0", broker_connection_timeout=1)
    found = wrong(timeout=3)
    assert "CELERY_BROKER_URL" in found["queue"]
    assert "worker" not in found


# Worker


@pytest.fixture
def lazy_app(celery_app, settings):
    """A broker that takes everything, in memory, and the store as if workers shared it."""
    celery_app.conf.task_always_eager = False
    settings.IMMORTUS_STORE = {"BACKEND": f"{__name__}.Shared"}
    return celery_app


class Shared(MemoryStore):
    """Jobs in memory, as if others saw them."""

    is_shared = True


def test_a_missing_worker_is_found_and_the_probe_is_withdrawn(lazy_app):
    assert "celery -A" in wrong()["worker"]
    (record,) = get_store()._records.values()
    assert json.loads(record)["state"] == "cancelled"


def test_the_probe_goes_to_the_queue_that_is_named(lazy_app):
    wrong(queue="images")
    with lazy_app.connection_for_read() as connection:
        assert connection.default_channel.basic_get("images") is not None


def test_a_worker_that_fails_is_found(monkeypatch):
    monkeypatch.setattr(probe, "run", lambda: 1 / 0)
    assert "failed: error" in wrong()["worker"]


# Layer


FAULTY = "immortus_channels.testing.FaultyChannelLayer"


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ({"BACKEND": FAULTY, "CONFIG": {"fail": 1}}, "on purpose"),
        ({"BACKEND": FAULTY, "CONFIG": {"stall": 1}}, "no answer in time"),
        ({"BACKEND": FAULTY, "CONFIG": {"drop": 1}}, "did not arrive"),
        ({"BACKEND": f"{__name__}.NoLayer"}, "NoLayer"),
    ],
    ids=["fails", "hangs", "deaf", "none"],
)
def test_a_layer_that_does_not_bring_the_worker_s_push_is_found(settings, layer, told):
    settings.CHANNEL_LAYERS = {"default": layer}
    assert told in wrong()["layer"]


@pytest.mark.redis
def test_the_doctor_finds_one_host_of_several_that_is_away(settings):
    with RedisServer() as one, RedisServer() as other, RedisServer() as third:
        hosts = [{"address": server.url, "socket_connect_timeout": 1} for server in (one, other, third)]
        backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts}}}
        assert wrong(timeout=5.0) == {}
        other.kill()
        for _ in range(4):
            assert "host 2 of 3" in wrong(timeout=1.0)["layer"]


def test_a_deaf_layer_is_found_without_a_worker_too(settings, lazy_app):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": FAULTY, "CONFIG": {"drop": 1}}}
    assert "did not come back" in wrong()["layer"]


# Socket


async def crashing(scope, receive, send):
    msg = "oh no"
    raise RuntimeError(msg)


async def refusing(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


async def chatting(scope, receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": '{"type": "welcome"}'})
    await receive()
    await receive()


async def silent(scope, receive, send):
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("application", "told"),
    [
        ("elsewhere", "No route found"),
        ("crashing", "oh no"),
        ("refusing", "refused"),
        ("chatting", "refused"),
        ("silent", "no answer in time"),
        ("not_there", "not_there"),
    ],
)
def test_an_application_that_does_not_serve_the_socket_is_found(settings, application, told):
    settings.ASGI_APPLICATION = f"{__name__}.{application}"
    assert told in wrong()["socket"]


@pytest.mark.parametrize("hosts", [[], ["*"], [".example.com"], ["shop.example.com", "localhost"]])
def test_the_socket_is_tried_from_an_origin_that_is_allowed(settings, hosts):
    settings.ALLOWED_HOSTS = hosts
    settings.DEBUG = not hosts
    settings.ASGI_APPLICATION = f"{__name__}.whole"
    assert wrong() == {}


def test_a_socket_that_is_switched_off_is_not_tried(settings):
    settings.IMMORTUS_WEBSOCKET = False
    settings.ASGI_APPLICATION = f"{__name__}.crashing"
    assert wrong() == {}


class Answering(BaseHTTPRequestHandler):
    """Answers every handshake with the status in the address."""

    def do_GET(self):
        _, status, self.server_name, *_ = [*self.path.split("/"), ""]
        self.send_response(int(status))
        self.end_headers()

    def version_string(self):
        return self.server_name

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server():
    """A server that answers as it is told to."""
    server = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "cure"), [("101", None), ("403", "IMMORTUS_ALLOWED_ORIGINS"), ("404", "ASGI"), ("502", "ASGI")]
)
def test_the_running_server_s_answer_to_the_handshake_is_told(server, status, cure):
    found = wrong(url=f"{server}/{status}")
    assert (cure in found["socket"]) if cure else not found


@pytest.mark.parametrize(
    ("name", "status", "cure"),
    [
        ("uvicorn", 404, "pip install websockets"),
        ("uvicorn", 403, "IMMORTUS_ALLOWED_ORIGINS"),
        ("uvicorn", 500, "ASGI"),
        ("WSGIServer", 404, "WSGIServer is a WSGI server"),
        ("gunicorn", 404, "gunicorn is a WSGI server"),
        ("nginx", 404, "a proxy does not pass Upgrade on"),
    ],
)
def test_a_server_is_known_by_what_it_calls_itself(server, name, status, cure):
    assert cure in wrong(url=f"{server}/{status}/{name}")["socket"]


def test_uvicorn_without_a_library_for_sockets_is_named(tmp_path):
    (tmp_path / "office.py").write_text(
        "from django.core.asgi import get_asgi_application\n"
        "from django.conf import settings\n"
        "settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['127.0.0.1'])\n"
        "urlpatterns = []\n"
        "application = get_asgi_application()\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--ws", "none", "--port", str(port), "office:application"]
    environ = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    serving = Process([*command, "--app-dir", str(tmp_path)], environ, tmp_path / "log", tmp_path)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: httpx.get(url), within=20)
        assert "pip install websockets" in wrong(url=url)["socket"]
    finally:
        serving.kill()


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("localhost:8182", "http://localhost:8182"),
        ("example.com", "http://example.com"),
        ("ws://example.com/app", "http://example.com/app"),
        ("http://", "http://localhost:8000"),
        ("http://localhost:http", "http://localhost:8000"),
        ("http://[::1", "http://localhost:8000"),
    ],
)
def test_an_address_that_is_none_is_said_with_the_one_that_was_meant(url, cure):
    assert f"Write http:// or https:// in front: --url {cure}" in wrong(url=url)["socket"]


def test_a_server_that_does_not_run_is_found():
    assert "Start the server" in wrong(url="http://127.0.0.1:1")["socket"]


# For real


def doctor(site: Site, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "django", "immortus_doctor", "--no-color", "--url", site.url, *options]
    return subprocess.run(command, env=site.env, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.redis
def test_a_real_site_is_well_once_its_worker_runs(tmp_path, redis_server: RedisServer):
    with running_site(tmp_path, **redis_options(redis_server.url, store=True)) as site:
        ill = doctor(site, "--timeout", "1")
        assert (ill.returncode, ill.stdout.count("wrong")) == (1, 1), ill.stdout + ill.stderr
        site.start_worker()
        well = doctor(site)
        assert (well.returncode, well.stdout.count("ok   ")) == (0, 6), well.stdout + well.stderr


@pytest.mark.slow
@pytest.mark.redis
def test_the_doctor_s_probe_finds_that_messages_lose_their_headers(tmp_path, redis_server: RedisServer):
    options = redis_options(redis_server.url, store=True) | {"SETTINGS": '{"CELERY_TASK_PROTOCOL": 1}'}
    with running_site(tmp_path, **options | {"BROKER_URL": f"{redis_server.url[:-1]}4"}) as site:
        site.start_worker()
        ill = doctor(site)
        (line,) = [line for line in ill.stdout.splitlines() if line.startswith("wrong")]
        assert line.split()[1] == "worker", ill.stdout + ill.stderr
        assert "CELERY_TASK_PROTOCOL" in ill.stdout.split(line)[1]
        assert "immortus_channels.W020" in ill.stdout.split(line)[0]


def beside(folder, host) -> None:
    """Another container, in which the database and the broker are mounted, but not the database's folder."""
    host.mkdir()
    (host / "db.sqlite3").hardlink_to(folder / "db.sqlite3")
    for name in ("broker", "control"):
        (host / name).symlink_to(folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("is_migrated_there", [True, False])
def test_a_worker_that_sees_another_file_of_jobs_says_which(tmp_path, is_migrated_there):
    plain = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
    with running_site(tmp_path, SETTINGS=on(plain, tmp_path)) as site:
        (file,) = tmp_path.glob("db.sqlite3-jobs-*[0-9a-f]")
        assert f"jobs are in {file}" in doctor(site, "--timeout", "0.5").stdout
        there = tmp_path / "there"
        beside(tmp_path, there)
        other = Site(there, SETTINGS=on(plain, there))
        try:
            if is_migrated_there:
                other.manage("migrate", "-v", "0")
            other.start_worker()
            told = doctor(site, "--timeout", "3").stdout
        finally:
            other.close()
        assert "ran the probe, but keeps its jobs in another file" in told
        assert str(there / file.name) in told
        with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
            assert database.execute("SELECT count(*) FROM immortus_channels_jobrecord").fetchone() == (0,)


def on(databases, folder) -> str:
    databases["default"]["NAME"] = str(folder / "db.sqlite3")
    return json.dumps({"DATABASES": databases})
