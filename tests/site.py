"""A whole site of its own for a test: web server and Celery worker as processes that can be killed and frozen."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests import templates
from tests.servers import free_port

ROOT = Path(__file__).parent.parent
MIGRATE = ("migrate", "--run-syncdb", "-v", "0")


class Process:
    """A process in a group of its own, with its output in a file."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, folder: Path = ROOT) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command, env=env, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The process id, which is its group's as well."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def signal_all(self, signum: signal.Signals) -> None:
        """Send a signal to the whole group."""
        os.killpg(self.pid, signum)

    def kill(self) -> None:
        """SIGKILL to the whole group, as a machine that loses power."""
        if self._popen.poll() is None:
            self.signal_all(signal.SIGKILL)
        self._popen.wait(10)

    def terminate(self) -> None:
        """SIGTERM."""
        self._popen.terminate()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what does not listen."""
        if self._popen.poll() is None:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(10)
        with contextlib.suppress(ProcessLookupError):
            self.signal_all(signal.SIGKILL)
        self._popen.wait(10)

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace")


class Site:
    """The project of `tests.project`, run for real in `var`."""

    def __init__(self, var: Path, *, server: str = "uvicorn", **environ: str) -> None:
        self.var = var
        self.server = server
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.websocket_url = f"ws://127.0.0.1:{self.port}/ws/immortus/"
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "tests.project.settings",
            "PROJECT_VAR": str(var),
            **environ,
        }
        self.folder = ROOT
        """Where its processes start: Celery looks there for modules before it looks anywhere else."""
        self.http = httpx.Client(base_url=self.url, timeout=20)
        self.processes: list[Process] = []
        for folder in ("broker", "control"):
            (var / folder).mkdir(exist_ok=True)

    def migrate(self) -> None:
        """Make the tables: by a copy of a database that has them, where the site has one of its own in a file."""
        if "POSTGRES" in self.env or "DATABASES" in self.env.get("SETTINGS", ""):
            self.manage(*MIGRATE)
        else:
            templates.copy("site", _migrated, self.var)

    def manage(self, *arguments: str) -> str:
        """Run a management command; its output."""
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env=self.env, cwd=self.folder, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def spawn(self, name: str, *command: str) -> Process:
        """Start a process of the site."""
        limited = (
            ["sh", "-c", f'ulimit -n {self.env["LIMIT_FILES"]}; exec "$@"', "sh"] if "LIMIT_FILES" in self.env else []
        )
        process = Process([*limited, sys.executable, "-m", *command], self.env, self.var / f"{name}.log", self.folder)
        self.processes.append(process)
        return process

    def start_web(self, asgi: str = "tests.project.asgi:application") -> Process:
        """Start the web server and wait until it answers."""
        commands = {
            "uvicorn": ("uvicorn", "--port", str(self.port), "--no-access-log", asgi),
            "daphne": ("daphne", "-p", str(self.port), "-b", "127.0.0.1", asgi),
            "gunicorn": ("gunicorn", "-b", f"127.0.0.1:{self.port}", "--threads", "4", "tests.project.wsgi"),
        }
        web = self.spawn("web", *commands[self.server])
        eventually(lambda: self.http.get("/immortus/verify").status_code, within=30)
        return web

    def start_worker(self, *options: str, concurrency: int = 2, log: str = "worker") -> Process:
        """Start a Celery worker and wait until it is ready; what it prints goes into the file of this name."""
        file = self.var / f"{log}.log"
        seen = file.read_text(errors="replace").count(" ready.") if file.exists() else 0
        worker = self.spawn(
            log, "celery", "-A", "tests.project", "worker", "-c", str(concurrency),
            "-l", "INFO", "-n", f"{log}{seen}@%h", "--without-gossip", "--without-mingle", *options,
        )  # fmt: skip
        eventually(lambda: worker.output.count(" ready.") > seen, within=30)
        return worker

    def close(self) -> None:
        """Stop everything, at once: a worker takes two seconds."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.stop()
        self.http.close()

    # As a visitor

    def start(self, task: str, **options: Any) -> str:
        """Start a job; its id."""
        answer = self.http.post(f"/start/{task}", json=options)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def verify(self, job_id: str) -> dict[str, Any]:
        """The job's document, or the error body."""
        document: dict[str, Any] = self.http.get(f"/immortus/verify/{job_id}").json()
        return document

    def wait_for(self, job_id: str, *states: str, within: float = 15) -> dict[str, Any]:
        """The job's document once it is in one of these states."""

        def reached() -> dict[str, Any] | None:
            document = self.verify(job_id)
            return document if document.get("state") in states else None

        try:
            return eventually(reached, within=within)
        except TimeoutError:
            msg = f"{job_id} is {self.verify(job_id)}, not {states}"
            raise TimeoutError(msg) from None

    def wait_until_over(self, job_id: str, within: float = 15) -> dict[str, Any]:
        """The job's document once it is over."""
        return self.wait_for(job_id, "finished", "failed", "cancelled", "lost", within=within)


def _migrated(folder: Path) -> None:
    """A folder with the tables of the project at its settings: the database, and the file of jobs beside it."""
    folder.mkdir()
    site = Site(folder)
    site.manage(*MIGRATE)
    site.close()


def eventually(ask: Callable[[], Any], *, within: float, every: float = 0.05) -> Any:
    """The first true answer of `ask` within so many seconds; a refused connection counts as false."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            answer = ask()
        except httpx.TransportError:
            answer = None
        if answer:
            return answer
        time.sleep(every)
    msg = f"not within {within} s: {ask}"
    raise TimeoutError(msg)


@contextmanager
def running_site(var: Path, **options: Any) -> Iterator[Site]:
    """A migrated site with its web server running; workers are the test's to start."""
    site = Site(var, **options)
    try:
        site.migrate()
        site.start_web()
        yield site
    finally:
        site.close()


def redis_options(url: str, *, store: bool = False) -> dict[str, str]:
    """The environment of a site that uses this Redis as broker and layer, and as store if wanted."""
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": url, "socket_connect_timeout": 1, "socket_timeout": 1}]},
    }
    options = {"BROKER_URL": url, "LAYER": json.dumps(layer)}
    if store:
        options["STORE"] = json.dumps({"BACKEND": "redis", "OPTIONS": {"url": url}})
    return options
