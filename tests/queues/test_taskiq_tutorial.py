"""The page of the tutorial, followed to the letter: its files in an empty project, with the real worker."""

from __future__ import annotations

import pytest

from tests.acceptance.test_tutorial import Studio

NAME = "taskiq"
WORKER = "studio.worker:broker"

pytest.importorskip(NAME, reason=f"make queues QUEUE={NAME}")


@pytest.mark.redis
@pytest.mark.slow
def test_the_bar_moves_with_it_too(tmp_path, redis_server):
    studio = Studio(tmp_path)
    try:
        studio.follow(NAME, redis=redis_server.url)
        studio.start(("-m", NAME, "worker", WORKER))
        studio.paint()
    finally:
        studio.stop()
