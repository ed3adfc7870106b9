"""Two releases on one queue: a worker of the first published build and one of today serve the same jobs.

Records, message headers and pushes of either are understood by the other, so a deployment may replace its processes
one after the other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.site import ROOT, Process, Site, eventually, redis_options, running_site

pytestmark = pytest.mark.slow

OLD = "7ce415e6fd99b0e59975b410b794507248bb5bef"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as it was."""
    known = subprocess.run(["git", "cat-file", "-e", OLD], cwd=ROOT, capture_output=True, check=False)
    if known.returncode:
        pytest.skip(f"The history lacks {OLD[:7]}: git fetch --unshallow")
    folder = tmp_path_factory.mktemp("old")
    archive = subprocess.run(
        ["git", "archive", OLD, "immortus_channels"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


@contextmanager
def of_release(site: Site, folder: Path) -> Iterator[None]:
    """The processes that the site starts inside import the package from this folder."""
    before, site.folder = site.env, folder
    site.env = {**before, "PYTHONPATH": os.pathsep.join((str(folder), before["PYTHONPATH"]))}
    yield
    site.env, site.folder = before, ROOT


@pytest.fixture
def site(tmp_path: Path, redis_server, old: Path) -> Iterator[Site]:
    redis.Redis.from_url(redis_server.url).flushall()
    with running_site(tmp_path, **redis_options(redis_server.url, store=True)) as site:
        yield site


def start_old_worker(site: Site, old: Path) -> Process:
    with of_release(site, old):
        return site.start_worker(log="old")


def test_workers_of_both_releases_share_a_queue(site, old):
    start_old_worker(site, old)
    site.start_worker(log="new")
    jobs = [site.start("where", kwargs={"pause": 0.3}) for _ in range(12)]
    ends = [site.wait_until_over(job) for job in jobs]
    assert {end["state"] for end in ends} == {"finished"}
    assert {end["percentage"] for end in ends} == {100.0}
    assert {end["package"] for end in ends} == {str(old), str(ROOT)}


def test_an_old_worker_tells_a_new_site_of_each_kind_of_end(site, old):
    start_old_worker(site, old)
    ends = {task: site.wait_until_over(site.start(task))["state"] for task in ("quick", "crashes", "fails")}
    assert ends == {"quick": "finished", "crashes": "failed", "fails": "failed"}


def test_a_new_site_cancels_the_job_of_an_old_worker(site, old):
    start_old_worker(site, old)
    job = site.start("steps", kwargs={"count": 200, "pause": 0.05})
    site.wait_for(job, "running")
    eventually(lambda: site.verify(job)["current"], within=10)
    token = site.http.get("/page").text.split('data-csrf-token="')[1].split('"')[0]
    assert site.http.post(f"/immortus/cancel/{job}", headers={"X-CSRFToken": token}).status_code == 202
    assert site.wait_until_over(job)["state"] == "cancelled"


def test_a_job_sent_by_the_old_site_is_followed_by_a_new_worker(tmp_path, redis_server, old):
    redis.Redis.from_url(redis_server.url).flushall()
    site = Site(tmp_path, **redis_options(redis_server.url, store=True))
    try:
        with of_release(site, old):
            site.manage("migrate", "--run-syncdb", "-v", "0")
            site.start_web()
        site.start_worker(log="new")
        job = site.start("where")
        end = site.wait_until_over(job)
        assert (end["state"], end["package"]) == ("finished", str(ROOT))
        retried = site.wait_until_over(site.start("retries", kwargs={"times": 1}), within=20)
        assert (retried["state"], retried["attempt"]) == ("finished", 2)
    finally:
        site.close()
