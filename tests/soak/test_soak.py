"""Five hundred viewers, twenty jobs a second, and everything is killed: each is told each end, right and once."""

from __future__ import annotations

import pytest

from tests.soak.ordeal import Ordeal
from tests.soak.world import SECONDS, write

pytestmark = [pytest.mark.soak, pytest.mark.redis, pytest.mark.postgresql, pytest.mark.timeout(SECONDS + 600)]

FAIR = {"right", "right so far", "lost, and revived", "right, and run again"}
"""Each says that what a page was told last was on record when it was told."""


@pytest.mark.fault("M1")
@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
def test_whatever_is_killed_each_viewer_is_told_each_end_right_and_once(tmp_path, server):
    report = Ordeal(tmp_path, server, SECONDS).run()
    write(f"soak-{server}", report)
    assert report["looks"] > 0.5 * report["jobs"] > 0
    assert report["verdicts"].keys() <= FAIR, report["examples"]
    assert report["verdicts"]["right"] > 0.99 * report["looks"]
    assert report["findings"] == {}, report["examples"]
    assert report["our_tracebacks"] == 0, "lines of ours in them; channels_redis logs its own while Redis is away"
    for memory in report["memory"].values():
        assert memory["last"] - memory["first"] < 16, "MiB, and flat"
