"""SQLite as `startproject` leaves it: who reads in a transaction and then writes never notices a job."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.site import Site, eventually, running_site

pytestmark = pytest.mark.slow

TIMES = 1_000


def as_startproject_leaves_it(folder: Path) -> dict[str, dict[str, str]]:
    """The setting `DATABASES`."""
    return {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    # Written as often as can be: what happens by chance happens in each transaction.
    settings = {"DATABASES": as_startproject_leaves_it(folder), "IMMORTUS_FLUSH_INTERVAL": 0.005}
    with running_site(folder, SETTINGS=json.dumps(settings)) as site:
        yield site


def names(folder: Path) -> set[str]:
    """The rows that the transactions have made."""
    with closing(sqlite3.connect(folder / "db.sqlite3")) as database:
        return {name for (name,) in database.execute("SELECT name FROM auth_group")}


@pytest.mark.fault("E6")
def test_a_view_that_has_read_can_write_after_everything_that_jobs_do(site: Site, folder: Path) -> None:
    assert [site.http.get(f"/read-then-write/view-{number}").status_code for number in range(5)] == [200] * 5
    assert {f"view-{number}" for number in range(5)} <= names(folder)


@pytest.mark.fault("E6")
@pytest.mark.parametrize(
    "pool", [("prefork", 1), ("prefork", 4), ("threads", 4)], ids=lambda pool: f"{pool[0]}-{pool[1]}"
)
def test_a_task_that_has_read_can_write_after_everything_that_jobs_do(site: Site, folder: Path, pool) -> None:
    kind, concurrency = pool
    worker = site.start_worker("-P", kind, concurrency=concurrency, log=f"{kind}-{concurrency}")
    try:
        for number in range(4):
            name = f"{kind}-{concurrency}-{number}"
            job_id = site.start("read_then_write", kwargs={"name": name})
            assert site.wait_until_over(job_id)["state"] == "finished"
            assert name in names(folder)
    finally:
        worker.stop()


@pytest.mark.fault("E6")
def test_a_thousand_transactions_succeed_in_tracked_and_untracked_tasks(site: Site, folder: Path) -> None:
    worker = site.start_worker(concurrency=1, log="often")
    try:
        options = {"times": TIMES, "pause": 0.005}
        job_id = site.start("read_then_write_often", kwargs={"name": "tracked", **options})
        document = site.wait_until_over(job_id, within=120)
        send = f"read_then_write_often_untracked.delay('untracked', {TIMES}, 0.005)"
        site.manage("shell", "-c", f"from tests.project.shop.tasks import *; {send}")
        eventually(lambda: "untracked failed 0" in names(folder), within=120)
    finally:
        worker.stop()
    assert (document["state"], document["result"]) == ("finished", {"failed": 0})
    assert {f"{kind}-{number}" for kind in ("tracked", "untracked") for number in range(TIMES)} <= names(folder)
