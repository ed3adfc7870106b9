"""The same truths in every pool a worker may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site import Site, eventually, running_site

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_jobs_are_told_right_in_every_pool(tmp_path: Path, pool: str) -> None:
    with running_site(tmp_path) as site:
        site.start_worker("--pool", pool)
        expected = {
            "quick": "finished",
            "steps": "finished",
            "fails": "failed",
            "crashes": "failed",
            "retries": "finished",
            "ignores": "finished",
            "own_table": "finished",
            "from_threads": "finished",
        }
        jobs = {site.start(task): state for task, state in expected.items()}
        for job_id, state in jobs.items():
            assert site.wait_until_over(job_id, within=30)["state"] == state


LEFT = {
    "exit": "worker_lost",
    "good exit": "worker_lost",
    "interrupt": "worker_lost",
    "cancelled loop": "error",
    "generator": "error",
    "own": "error",
}
"""What a task may raise that is no Exception, and the error of its job where each job has a process."""


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_that_raises_what_is_no_exception_has_failed_in_every_pool(tmp_path: Path, pool: str) -> None:
    """A thread is not lost by it, and does not take the worker along; the only process of the pool `solo` does."""
    with running_site(tmp_path) as site:
        worker = site.start_worker("--pool", pool)
        for by, code in LEFT.items():
            if not worker.is_running:
                worker = site.start_worker("--pool", pool)
            job_id = site.start("leaves", kwargs={"by": by})
            document = site.wait_until_over(job_id, within=10)
            of_pool = {"prefork": code, "threads": "error", "solo": "worker_lost"}[pool]
            assert (by, document["state"], document["error"]["code"]) == (by, "failed", of_pool)
            assert_said(site, job_id, is_told_here=pool != "prefork")
            if pool == "solo":
                eventually(lambda worker=worker: not worker.is_running, within=10)
        assert pool == "solo" or worker.is_running


def assert_said(site: Site, job_id: str, *, is_told_here: bool) -> None:
    """Celery logs nothing of it in a pool of threads."""
    assert not is_told_here or f"of '{job_id}' raised" in (site.var / "worker.log").read_text()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_waits_for_an_untracked_task_that_exits_is_cancelled(tmp_path: Path, pool: str) -> None:
    with running_site(tmp_path) as site:
        site.start_worker("--pool", pool)
        last = site.http.post("/canvas/untracked_exit").json()["job_id"]
        document = site.wait_until_over(last)
        assert (document["state"], document["error"]["code"]) == ("cancelled", "upstream")
