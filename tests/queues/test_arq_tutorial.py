"""The page of the tutorial, followed to the letter: its files in an empty project, with the real worker."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.test_tutorial import Studio
from tests.site import eventually

NAME = "arq"
WORKER = "studio.worker.WorkerSettings"

pytest.importorskip(NAME, reason=f"make queues QUEUE={NAME}")


@pytest.mark.redis
@pytest.mark.slow
def test_the_bar_moves_with_it_too(tmp_path, redis_server):
    studio = Studio(tmp_path)
    try:
        studio.follow(NAME, redis=redis_server.url)
        studio.start(("-m", NAME, WORKER))
        (job_id,) = re.findall(r'<immortus-job job-id="([\w-]+)"', studio.process("cat.jpg").text)
        assert eventually(lambda: 0 < (studio.document(job_id).get("percentage") or 0) < 100, within=30)
        assert studio.end_of(job_id)["state"] == "finished"
    finally:
        studio.stop()
