"""A minute of everything a hostile client can send, at once: whoever watches a job beside it hardly notices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from immortus_channels import JobRepository
from tests.project import settings as project
from tests.site import ROOT, redis_options
from tests.soak.world import Gauge, SoakSite, cpu_seconds, write
from tests.watcher import SocketWatcher

pytestmark = [
    pytest.mark.soak, pytest.mark.redis, pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and compares clocks of processes"),
]  # fmt: skip

SECONDS = float(os.environ.get("SOAK_HOSTILE_SECONDS", "60"))
JOBS, PACE = 20, 0.25
"""Jobs with a viewer each, and the seconds between the changes of each."""
P99 = 0.1


class Audience:
    """Viewers of running jobs, each of whose changes says when it was made; a context manager."""

    def __init__(self, site: SoakSite) -> None:
        self._site = site
        self._stopped = threading.Event()
        self.latencies: list[float] = []
        self.ends = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Jobs that change and viewers that look, until all jobs have ended and been seen to."""
        with ExitStack() as stack:
            jobs = [stack.enter_context(JobRepository().create().running()) for _ in range(JOBS)]
            viewers = [threading.Thread(target=self._view, args=[job.job_id], daemon=True) for job in jobs]
            changing = threading.Thread(target=self._change, args=[jobs], daemon=True)
            for thread in (*viewers, changing):
                thread.start()
            yield
            self._stopped.set()
            changing.join()
        for viewer in viewers:
            viewer.join(20)

    def _change(self, jobs) -> None:
        while not self._stopped.is_set():
            begin = time.monotonic()
            for n, job in enumerate(jobs):
                time.sleep(max(begin + n * PACE / JOBS - time.monotonic(), 0))
                job.set_meta(sent=time.monotonic())
            time.sleep(max(begin + PACE - time.monotonic(), 0))

    def _view(self, job_id: str) -> None:
        with SocketWatcher(self._site.websocket_url, job_id, open_timeout=30) as watcher:
            while not watcher.is_over(job_id):
                frame = watcher.receive(30)
                if frame["type"] == "job" and frame["event"] == "meta":
                    self.latencies.append(time.monotonic() - frame["job"]["sent"])
            self.ends += 1

    def since(self, count: int) -> dict[str, float]:
        """Of the latencies after so many: how they are spread, in milliseconds."""
        times = sorted(self.latencies[count:])
        at = len(times) - 1
        return {
            "pushes": len(times), "median": times[at // 2] * 1000, "p99": times[round(at * 0.99)] * 1000,
            "longest": times[at] * 1000,
        }  # fmt: skip


@pytest.fixture(params=["uvicorn", "daphne"])
def site(request, tmp_path, redis_server, postgres):
    options = redis_options(redis_server.url, store=True) | {"POSTGRES": json.dumps(postgres.database)}
    site = SoakSite(tmp_path, server=request.param, **options)
    try:
        site.migrate()
        site.start_web()
        yield site
    finally:
        site.close()


@pytest.fixture
def _as_worker(site, settings):
    settings.SECRET_KEY = project.SECRET_KEY
    settings.IMMORTUS_STORE = json.loads(site.env["STORE"])
    settings.CHANNEL_LAYERS = {"default": json.loads(site.env["LAYER"])}


@pytest.mark.fault("H13")
@pytest.mark.usefixtures("_as_worker")
def test_a_hostile_client_harms_neither_other_watchers_nor_the_server(site):
    audience = Audience(site)
    with Gauge(web=lambda: site.processes[-1]) as gauge, audience.watching():
        time.sleep(SECONDS / 4)
        quiet = audience.since(0)
        count, cpu = len(audience.latencies), cpu_seconds(site.processes[-1])
        attacking = [sys.executable, "-m", "tests.soak.attacker", str(site.port), str(SECONDS)]
        done = subprocess.run(attacking, cwd=ROOT, check=True, capture_output=True, text=True, timeout=SECONDS + 60)
        attacked = audience.since(count)
        cpu = cpu_seconds(site.processes[-1]) - cpu
    offered = json.loads(done.stdout)
    report = {
        "seconds": SECONDS, "offered": offered, "quiet": quiet, "attacked": attacked, "ends": audience.ends,
        "cpu_seconds": cpu, "memory": gauge.memory("web", warm_up=SECONDS / 4), "load": gauge.load(),
        "tracebacks": site.processes[-1].output.count("Traceback"),
    }  # fmt: skip
    write(f"hostile-{site.server}", report)
    assert offered["flood: frames"] >= 5_000 * SECONDS, "the attacker was too slow"
    assert audience.ends == JOBS
    assert report["tracebacks"] == 0
    assert report["memory"]["most"] - report["memory"]["first"] < 64
    assert attacked["p99"] < max(P99 * 1000, 2 * quiet["p99"]), "a busy machine is late without an attack, too"
