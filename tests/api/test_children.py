"""Children of a process that runs a job: whatever they say of it is on record, by each way in which they are made."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.children import CALLS, CHILDREN, WAYS
from tests.servers import RedisServer
from tests.site import ROOT, Site, redis_options, running_site

ALL = CHILDREN * CALLS
DAEMONIC = ("os.fork", "billiard", "handle")
"""The ways that are open to a process of Celery's prefork pool, which may have no children by multiprocessing."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def run_python(site: Site, *arguments: str) -> str:
    """What a Python process of the site prints; with it, all that it has started ends."""
    with (site.var / "python.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *arguments],
            env=site.env, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            told, _ = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        log.seek(0)
        assert process.returncode == 0, log.read()
    return told


@pytest.mark.parametrize("store", ["database", "redis"])
@pytest.mark.redis
def test_children_of_a_block_are_all_heard(tmp_path: Path, redis: RedisServer, store: str) -> None:
    site = Site(tmp_path, **(redis_options(redis.url, store=True) if store == "redis" else {}))
    site.migrate()
    done = run_python(site, "-m", "tests.api.children", *WAYS)
    assert json.loads(done) == {way: ["finished", ALL, ALL] for way in WAYS}


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "solo", "prefork"])
def test_children_of_a_task_are_all_heard(tmp_path: Path, pool: str) -> None:
    with running_site(tmp_path) as site:
        site.start_worker("--pool", pool)
        ways = DAEMONIC if pool == "prefork" else WAYS
        jobs = {way: site.start("has_children", kwargs={"way": way}) for way in ways}
        for way, job_id in jobs.items():
            document = site.wait_until_over(job_id, within=60)
            keys = [key for key in document if key.startswith("key_")]
            assert (way, document["state"], document["current"], len(keys)) == (way, "finished", ALL, ALL)
