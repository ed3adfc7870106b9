"""The world that is measured: a Redis, a site and its servers, all our own, on free ports."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.processes import Talk, call
from benchmarks.rows import Scale
from tests.servers import RedisServer, free_port, wait_until
from tests.site import ROOT, Process

STAMPED = "benchmarks.stamps.StampedRedisStore"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Something that pushes: its name in the table, who serves it, and where its sockets are."""

    name: str
    kind: str
    server: str = "uvicorn"
    layer: str = "pubsub"

    @property
    def path(self) -> str:
        """The address of a job's socket, to be formatted with `job`."""
        return {"ours": "/ws/immortus/{job}/", "celery-progress": "/ws/progress/{job}"}.get(
            self.kind, f"/ws/{self.kind}/{{job}}/"
        )


OURS = System(name="ours", kind="ours")
DAPHNE = System(name="ours, Daphne", kind="ours", server="daphne")
CORE = System(name="ours, core layer", kind="ours", layer="core")
NO_LAYER = System(name="ours, no layer", kind="ours", layer="none")
CELERY_PROGRESS = System(name="celery-progress", kind="celery-progress", layer="core")
PLAIN = System(name="plain consumer", kind="plain")
IDLE = System(name="idle consumer", kind="idle")
FLOOR = System(name="floor", kind="floor", server="floor")


def measured(scale: Scale, systems: Sequence[System]) -> list[System]:
    """Those of the systems that a run of this scale measures."""
    return [system for system in systems if scale.with_peers or system.kind == OURS.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """A running server."""

    port: int
    pid: int


class World:
    """One Redis, one database with one user, and the servers that are started on them; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start Redis, make the database and log the user in."""
        self.var = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="immortus-bench-")))
        self.redis = self._stack.enter_context(RedisServer())
        self.cookie: str = call(self.environ(), _prepare)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._stack.close()

    def environ(self, layer: str = "pubsub", store: dict[str, Any] | None = None, **more: str) -> dict[str, str]:
        """The environment of a process with our Django; without a store named it is Redis."""
        return {
            "DJANGO_SETTINGS_MODULE": "benchmarks.site.settings",
            "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))),
            "BENCH_VAR": str(self.var),
            "BENCH_REDIS": self.redis.url,
            "BENCH_LAYER": layer,
            "BENCH_STORE": json.dumps(store or self.redis_store()),
            **more,
        }

    def redis_store(self, backend: str = "redis") -> dict[str, Any]:
        """Our store, in this Redis."""
        return {"BACKEND": backend, "OPTIONS": {"url": self.redis.url}}

    def publishing(self, system: System) -> dict[str, str]:
        """The environment of that system's publisher."""
        return self.environ(system.layer, self.redis_store(STAMPED))

    @contextmanager
    def web(self, system: System) -> Iterator[Web]:
        """The system's server, while the block runs."""
        port = free_port()
        commands = {
            "uvicorn": (
                "uvicorn", "--port", str(port), "--no-access-log", "--log-level", "warning", "--lifespan", "off",
                "benchmarks.site.asgi:application",
            ),
            "daphne": ("daphne", "-p", str(port), "-b", "127.0.0.1", "-v", "0", "benchmarks.site.asgi:application"),
            "floor": ("benchmarks.floor", str(port), self.redis.url),
        }  # fmt: skip
        command = [sys.executable, "-m", *commands[system.server]]
        process = Process(command, {**os.environ, **self.environ(system.layer)}, self.var / "web.log")
        try:
            wait_until(lambda: _listens(port))
            yield Web(port=port, pid=process.pid)
        except Exception as error:
            error.add_note(f"{system.name} said: {process.output[-4000:]}")
            raise
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _prepare(_: Talk) -> str:
    """Make the tables, a user and a session of theirs; the cookie of it."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(User.objects.create_user("viewer"))
    return f"sessionid={client.cookies['sessionid'].value}"
