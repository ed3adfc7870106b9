"""The tutorial, followed to the letter: its files in an empty project, with a real worker and server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.pages_of_docs import page
from tests.servers import PostgresServer, RedisServer, free_port, need_package
from tests.site import ROOT, Process, eventually

pytestmark = pytest.mark.slow

AT_THE_END = ", at the end"
REDIS = "redis://127.0.0.1:6379/0"
CELERY = ("-m", "celery", "-A", "studio", "worker", "--concurrency", "2", "--without-gossip", "--without-mingle")
WORKERS = {
    "dramatiq": ("manage.py", "rundramatiq", "--processes", "1"),
    "rq": ("manage.py", "rqworker", "default", "--with-scheduler"),
}
"""The commands of the workers of other queues, by the names of their pages."""
HUEY = ("manage.py", "run_huey", "--workers", "2")
PROCRASTINATE = ("manage.py", "procrastinate", "worker")


class Studio:
    """The reader's project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONUNBUFFERED": "1"}
        self.env.pop("DJANGO_SETTINGS_MODULE", None)
        self.processes: list[Process] = []
        self.run(sys.executable, "-m", "django", "startproject", "studio", ".")
        self.manage("startapp", "images")

    def run(self, *command: str) -> None:
        options: dict[str, Any] = {"cwd": self.folder, "env": self.env, "stdin": subprocess.DEVNULL}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr

    def manage(self, *arguments: str) -> None:
        self.run(sys.executable, "manage.py", *arguments)

    def follow(self, name: str, redis: str = REDIS, files: str = "") -> None:
        """Write the files that a page of the tutorial shows, or those so called; `redis` is where Redis really is."""
        for sample in page(f"tutorial/{name}.md").samples:
            if not sample.title or not re.search(files, sample.title):
                continue
            path = self.folder / sample.title.removesuffix(AT_THE_END)
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text() if sample.title.endswith(AT_THE_END) else ""
            path.write_text(before + sample.text.replace(REDIS, redis))

    def start(self, worker: Sequence[str] = CELERY) -> None:
        """Run the last commands of the page, the server on a port of its own."""
        self.manage("check", "--fail-level", "WARNING")
        self.manage("migrate", "--verbosity", "0")
        server = ("manage.py", "runserver", "--noreload", self.url.removeprefix("http://"))
        for log, command in (("worker.log", worker), ("server.log", server)):
            process = Process([sys.executable, *command], self.env, self.folder / log, self.folder)
            self.processes.append(process)
        eventually(lambda: httpx.get(self.url).status_code == 200, within=30)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self.processes.clear()

    # As a visitor

    def process(self, path: str) -> httpx.Response:
        """Send the form."""
        with httpx.Client(base_url=self.url) as client:
            html = client.get("/").text
            (token,) = re.findall(r'(?:name="csrfmiddlewaretoken" value|data-csrf-token)="(\w+)"', html)
            self.cookies = dict(client.cookies)
            self.headers = {"X-CSRFToken": token}
            return client.post("/process", data={"path": path}, headers=self.headers)

    def document(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"{self.url}/immortus/verify/{job_id}").json()
        return document

    def end_of(self, job_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            document = self.document(job_id)
            return document if document.get("finished_at") else None

        document: dict[str, Any] = eventually(ended, within=30)
        return document

    def paint(self) -> None:
        """Send a picture, and see its bar move to the end."""
        (job_id,) = re.findall(r'<immortus-job job-id="([\w-]+)"', self.process("cat.jpg").text)
        assert eventually(lambda: 0 < (self.document(job_id).get("percentage") or 0) < 100, within=30)
        assert self.end_of(job_id)["state"] == "finished"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(tmp_path_factory.mktemp("studio"))
    yield studio
    studio.stop()


def test_the_first_part_makes_a_live_bar(studio):
    studio.follow("first-bar")
    studio.start()
    studio.paint()
    studio.stop()


@pytest.mark.redis
def test_the_second_part_makes_it_push(studio, redis_server: RedisServer):
    studio.follow("push", redis=redis_server.url)
    studio.start()
    (job_id,) = re.findall(r'<immortus-job job-id="([\w-]+)"', studio.process("cat.jpg").text)
    frames: list[dict[str, Any]] = []
    address = f"{studio.url.replace('http', 'ws')}/ws/immortus/{job_id}/"
    with connect(address, subprotocols=["immortus.v1"], origin=studio.url) as socket:
        while not frames or frames[-1].get("job", {}).get("state") != "finished":
            frames.append(json.loads(socket.recv(timeout=30)))
    assert sum(frame["type"] == "job" for frame in frames) >= 10
    studio.stop()


def test_the_third_part_ends_jobs_in_every_way(studio):
    studio.follow("endings")
    studio.start()
    finished = studio.end_of(studio.process("cat.jpg").json()["job_id"])
    assert finished["state"] == "finished"
    assert finished["result"] == {"thumbnail": "/media/cat.jpg"}
    assert finished["tile"] == 19
    failed = studio.end_of(studio.process("notes.txt").json()["job_id"])
    assert failed["error"] == {"code": "not_an_image", "message": "This file is not an image."}
    job_id = studio.process("cat.jpg").json()["job_id"]
    eventually(lambda: studio.document(job_id)["state"] == "running", within=30)
    cancel = f"{studio.url}/immortus/cancel/{job_id}"
    assert httpx.post(cancel, cookies=studio.cookies, headers=studio.headers).status_code == 202
    assert studio.end_of(job_id)["state"] == "cancelled"


@pytest.mark.redis
@pytest.mark.parametrize("queue", WORKERS)
def test_the_bar_moves_with_another_queue_too(tmp_path: Path, redis_server: RedisServer, queue: str):
    studio = Studio(tmp_path)
    try:
        studio.follow(queue, redis=redis_server.url)
        studio.start(WORKERS[queue])
        studio.paint()
    finally:
        studio.stop()


@pytest.mark.skipif(
    find_spec("django.tasks") is None or find_spec("django_tasks_db") is None,
    reason="needs Django 6 and django-tasks-db",
)
def test_the_first_part_can_do_without_celery(tmp_path):
    studio = Studio(tmp_path)
    studio.follow("first-bar")
    (tmp_path / "studio" / "celery.py").unlink()
    (tmp_path / "studio" / "__init__.py").write_text("")
    studio.follow("django-tasks")
    try:
        studio.start(("manage.py", "db_worker", "--no-reload"))
        studio.paint()
    finally:
        studio.stop()


def test_the_bar_moves_with_huey_too(tmp_path):
    need_package("huey", "immortus-channels[huey]")
    studio = Studio(tmp_path)
    studio.follow("first-bar", files=r"\.html$|urls\.py")
    studio.follow("huey")
    try:
        studio.start(HUEY)
        studio.paint()
    finally:
        studio.stop()


def test_the_bar_moves_with_django_q2_too(tmp_path):
    need_package("django_q", "immortus-channels[django-q2]")
    studio = Studio(tmp_path)
    studio.follow("django-q2")
    try:
        studio.start(("manage.py", "qcluster"))
        studio.paint()
    finally:
        studio.stop()


@pytest.mark.postgresql
def test_the_bar_moves_with_procrastinate_too(tmp_path: Path, postgres: PostgresServer):
    need_package("procrastinate", "immortus-channels[procrastinate]")
    studio = Studio(tmp_path)
    studio.follow("procrastinate")
    with (tmp_path / "studio/settings.py").open("a") as settings:
        settings.write(f"DATABASES['default'] |= {postgres.database!r}\n")
    studio.env["DJANGO_SUPERUSER_PASSWORD"] = "secret"
    try:
        studio.start(PROCRASTINATE)
        studio.manage("createsuperuser", "--noinput", "--username=ada", "--email=ada@example.com")
        with httpx.Client(base_url=studio.url, follow_redirects=True) as client:

            def post(path: str, /, **data: str) -> str:
                client.get("/admin/login/")
                return client.post(path, data={**data, "csrfmiddlewaretoken": client.cookies["csrftoken"]}).text

            post("/admin/login/?next=/", username="ada", password="secret")
            (job_id,) = re.findall(r'<immortus-job job-id="([\w-]+)"', post("/process", path="cat.jpg"))
            verify = f"/immortus/verify/{job_id}"
            assert eventually(lambda: 0 < (client.get(verify).json().get("percentage") or 0) < 100, within=30)
            assert eventually(lambda: client.get(verify).json()["state"] == "finished", within=30)
    finally:
        studio.stop()
