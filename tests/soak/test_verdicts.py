"""How a viewer's last sight of a job is judged: the soak is worth no more than this."""

from __future__ import annotations

import pytest

from tests.soak.load import verdict
from tests.soak.viewer import Told


def document(state, version, attempt=1):
    return {"state": state, "version": version, "attempt": attempt}


FINISHED = document("finished", 5)


@pytest.mark.parametrize(
    ("last", "truth", "judged"),
    [
        (FINISHED, FINISHED, "right"),
        (document("finished", 4), FINISHED, "wrong"),
        (document("failed", 5), FINISHED, "wrong"),
        (document("lost", 4), FINISHED, "lost, and revived"),
        (FINISHED, document("finished", 9, attempt=2), "right, and run again"),
        (FINISHED, document("running", 9, attempt=2), "right, and run again"),
        (document("finished", 9, attempt=2), FINISHED, "wrong"),
    ],
)
def test_who_was_told_an_end(last, truth, judged):
    assert verdict(Told(last=last, ended_at=1.0), truth) == judged


@pytest.mark.parametrize(
    ("last", "truth", "judged"),
    [
        (document("running", 4), FINISHED, "never told"),
        (None, FINISHED, "never told"),
        (document("running", 4), document("running", 4), "right so far"),
        (document("running", 3), document("running", 4), "stale"),
    ],
)
def test_who_was_told_no_end(last, truth, judged):
    assert verdict(Told(last=last), truth) == judged
