"""The same ordeal for celery-progress: what its viewers are told is reported beside ours, in build/soak/soak.txt."""

from __future__ import annotations

import os

import pytest

from tests.soak.ordeal import Ordeal
from tests.soak.world import SECONDS, write

BESIDE_SECONDS = float(os.environ.get("SOAK_BESIDE_SECONDS", SECONDS))
pytestmark = [pytest.mark.soak, pytest.mark.redis, pytest.mark.postgresql, pytest.mark.timeout(BESIDE_SECONDS + 600)]


@pytest.mark.fault("M1", twin=True)
def test_celery_progress_leaves_viewers_without_an_end(tmp_path):
    """It must: else the ordeal would prove nothing."""
    pytest.importorskip("celery_progress", reason="make soak installs it")
    report = Ordeal(tmp_path, "uvicorn", BESIDE_SECONDS, beside=True).run()
    write("soak-celery-progress", report)
    assert report["verdicts"].get("never told", 0) > 0.01 * report["looks"]
