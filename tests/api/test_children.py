"""Children of a process that runs a job: whatever they say of it is on record, by each way in which they are made."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from immortus_channels import JobHandle
from tests.api.children import CALLS, CHILDREN, FORKED, SPAWNED, WAYS
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


@pytest.mark.fault("W4")
@pytest.mark.parametrize(
    ("store", "ways"),
    [
        pytest.param("database", WAYS, id="database"),
        pytest.param("redis", FORKED, id="redis"),
        pytest.param("redis", SPAWNED, id="redis-spawned", marks=pytest.mark.slow),
    ],
)
@pytest.mark.redis
def test_children_of_a_block_are_all_heard(tmp_path: Path, redis: RedisServer, store: str, ways: Iterable[str]) -> None:
    site = Site(tmp_path, **(redis_options(redis.url, store=True) if store == "redis" else {}))
    site.migrate()
    done = run_python(site, "-m", "tests.api.children", *ways)
    assert json.loads(done) == {way: ["finished", ALL, ALL] for way in ways}


@pytest.mark.fault("W4")
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


BARE = """
import pickle, sys
from immortus_channels import JobRepository, get_job
handle = pickle.loads(bytes.fromhex(sys.argv[1]))
for use in (
    lambda: handle.update(advance=1), lambda: handle.state, lambda: list(handle.track("ab")), handle.checkpoint,
    lambda: handle.cancel_requested, lambda: get_job("a"), lambda: JobRepository().create(), handle.complete,
):
    try:
        use()
    except Exception as error:
        print(type(error).__name__, "django.setup()" in str(error))
"""


@pytest.mark.parametrize("settings_module", ["tests.project.settings", ""])
def test_a_process_that_has_not_set_django_up_says_so(tmp_path: Path, settings_module: str) -> None:
    site = Site(tmp_path, DJANGO_SETTINGS_MODULE=settings_module)
    told = run_python(site, "-c", BARE, pickle.dumps(JobHandle("a")).hex())
    assert told.splitlines() == ["ConfigurationError True"] * 8


LEAVES = """
import django, os, sys; django.setup()
from immortus_channels import JobRepository, get_job
pid = os.getpid()
with JobRepository().create().running() as job:
    if os.fork() == 0:
        sys.exit(3)
    os.wait()
    state = get_job(job.id).record.state
print(state, get_job(job.id).state)
"""


def test_a_child_that_leaves_the_block_does_not_end_the_job(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.migrate()
    assert run_python(site, "-c", LEAVES).split() == ["running", "finished"]


COUNTS = """
import django, os, time; django.setup()
from immortus_channels import JobRepository, get_job
with JobRepository().create().running() as job:
    job.update(message="Reported")
    while get_job(job.id).document["message"] != "Reported":
        time.sleep(0.01)
    job.update(current=0, total=10)  # its next report is due in 20 seconds
    if os.fork() == 0:
        job.update(advance=3)
        os._exit(0)
    os.wait()
print(get_job(job.id).document["current"], get_job(job.id).document["total"])
"""


def test_a_child_counts_in_the_step_that_its_parent_has_just_begun(tmp_path: Path) -> None:
    site = Site(tmp_path, SETTINGS=json.dumps({"IMMORTUS_FLUSH_INTERVAL": 20}))
    site.migrate()
    assert run_python(site, "-c", COUNTS).split() == ["3", "10"]


LOOPS = """
import django, os; django.setup()
from immortus_channels import JobCancelled, JobRepository, get_job
with JobRepository().create().running() as job:
    for item in job.track(range(3)):
        if os.fork() == 0:
            for _ in job.track(range(10), message="Inside"):
                pass
            get_job(job.id).cancel()
            os._exit(0 if job.cancel_requested and job.data == {} and job.attempt == 1 else 1)
        _, status = os.wait()
        print(status, get_job(job.id).document["message"])
        break
"""


def test_a_child_may_use_all_of_its_parents_handle(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.migrate()
    assert run_python(site, "-c", LOOPS).split() == ["0", "Inside"]
