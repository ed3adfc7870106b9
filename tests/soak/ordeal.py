"""Ten minutes of a site whose parts are killed and started again, under the eyes of five hundred viewers."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import PostgresServer, RedisServer
from tests.site import Process, redis_options
from tests.soak.world import Gauge, SoakSite

RATE = float(os.environ.get("SOAK_RATE", "20"))
VIEWERS = int(os.environ.get("SOAK_VIEWERS", "500"))
THREADS = 30
"""Of each worker."""
REDIS_AWAY = 3.0
WARM_UP = 0.1
"""Share of the run until memory is looked at."""


@dataclass(frozen=True)
class Harm:
    """What is done to the site, and when."""

    at: float
    do: Callable[[], None]


class Ordeal:
    """A run of one server with one package; everything is its own."""

    def __init__(self, var: Path, server: str, seconds: float, *, beside: bool = False) -> None:
        self.seconds, self.beside = seconds, beside
        self.redis = RedisServer(keeps_data=True)
        self.postgres = PostgresServer()
        options = redis_options(self.redis.url) | {"POSTGRES": json.dumps(self.postgres.database)}
        if beside:
            host = {"address": self.redis.url, "socket_timeout": 15, "max_connections": 2_000}
            core = {"hosts": [host], "capacity": 10_000}
            layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": core}
            options |= {"LAYER": json.dumps(layer), "RESULT_BACKEND": self.redis.url, "BESIDE": "1"}
        self.site = SoakSite(var, server=server, **options)
        self.done: list[str] = []
        """What was harmed."""

    def run(self) -> dict[str, Any]:
        """Go through it; the report."""
        with self.postgres, self.redis:
            try:
                self.site.migrate()
                self.web = self.site.start_web()
                self.workers = [self._start_worker(n) for n in range(3)]
                with Gauge(web=lambda: self.web, worker=lambda: self.workers[0]) as gauge:
                    report = self._watched()
                report["harmed"] = {what: self.done.count(what) for what in sorted(set(self.done))}
                warm_up = self.seconds * WARM_UP
                report["memory"] = {name: gauge.memory(name, warm_up=warm_up) for name in ("web", "worker")}
                report["load"] = gauge.load()
                refused = (self.postgres.directory / "log").read_text(errors="replace").count("too many clients")
                report["connections_refused_by_postgres"] = refused
                report["our_tracebacks"] = (
                    (self.site.var / "web.log").read_text(errors="replace").count("/immortus_channels/")
                )
                return report
            finally:
                self.site.close()

    def _watched(self) -> dict[str, Any]:
        """Viewers and harm, until the viewers have judged."""
        path = self.site.var / "load.json"
        plan = {
            "url": self.site.url, "report": str(path), "beside": self.beside,
            "seconds": self.seconds, "rate": RATE, "viewers": VIEWERS,
        }  # fmt: skip
        env = self.site.env | {"PLAN": json.dumps(plan)}
        load = Process([sys.executable, "-m", "tests.soak.load"], env, self.site.var / "load.log")
        self.site.processes.append(load)
        begin = time.monotonic()
        for harm in self._harms():
            time.sleep(max(begin + harm.at - time.monotonic(), 0))
            threading.Thread(target=harm.do, daemon=True).start()
        while load.is_running and time.monotonic() < begin + self.seconds + 300:
            time.sleep(0.5)
        assert path.exists(), load.output[-4000:]
        report: dict[str, Any] = json.loads(path.read_text())
        return report

    def _harms(self) -> list[Harm]:
        end = self.seconds
        harms = [Harm(at * end, self._kill_web) for at in (0.2, 0.4)]
        harms += [Harm(at * end, self._kill_redis) for at in (0.3, 0.7)]
        every = min(30.0, end / 3)
        harms += [Harm(n * every, lambda n=n: self._kill_worker(1 + n % 2)) for n in range(1, int(end / every))]
        return sorted(harms, key=lambda harm: harm.at)

    def _start_worker(self, number: int) -> Process:
        """One that is not waited for: its first line may take long on a busy machine."""
        return self.site.spawn(
            f"worker{number}", "celery", "-A", "tests.project", "worker", "-P", "threads", "-c", str(THREADS),
            "-l", "INFO", "-n", f"worker{number}-{time.monotonic_ns()}@%h", "--without-gossip", "--without-mingle",
        )  # fmt: skip

    def _kill_worker(self, number: int) -> None:
        self.workers[number].kill()
        self.done.append("worker killed")
        self.workers[number] = self._start_worker(number)

    def _kill_web(self) -> None:
        self.web.kill()
        self.done.append("web killed")
        self.web = self.site.start_web()

    def _kill_redis(self) -> None:
        self.redis.kill()
        self.done.append("Redis killed")
        time.sleep(REDIS_AWAY)
        self.redis.start()
