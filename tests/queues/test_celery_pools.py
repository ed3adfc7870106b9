"""The same truths in every pool a worker may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site import running_site


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
