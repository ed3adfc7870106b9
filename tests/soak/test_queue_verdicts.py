"""How the end of a job is judged by what its runs have left: the soak of the queues is worth no more than this."""

from __future__ import annotations

import pytest

from tests.soak.verdicts import WRONG, Trace, goes_back, traces, verdict

NOW, KILL = 100.0, 50.0
WHOLE, CUT_OFF = Trace(began=10, ended=11), Trace(began=49)
ENDED_AS_IT_WAS_KILLED = Trace(began=48, ended=49.9)
AT_WORK = Trace(began=99)


def judged(state, runs, attempt=1, code=None, *, before="running", says=""):
    about = {"attempt": attempt, "error": code and {"code": code, "message": ""}}
    return verdict([{"state": before, **about}, {"state": state, **about}], runs, [KILL], NOW, says)


@pytest.mark.parametrize(
    ("state", "runs", "attempt", "code", "said"),
    [
        ("finished", [WHOLE], 1, None, "finished"),
        ("finished", [CUT_OFF, WHOLE], 2, None, "finished"),
        ("lost", [CUT_OFF], 1, "lost", "lost"),
        ("lost", [], 1, "lost", "lost"),
        ("lost", [WHOLE, CUT_OFF], 2, "lost", "lost"),
        ("lost", [ENDED_AS_IT_WAS_KILLED], 1, "lost", "lost"),
        ("failed", [CUT_OFF], 1, "worker_lost", "worker_lost"),
        ("running", [AT_WORK], 1, None, "at work"),
    ],
)
def test_what_was_told_right(state, runs, attempt, code, said):
    assert judged(state, runs, attempt, code) == said


@pytest.mark.parametrize(
    ("state", "runs", "attempt", "code"),
    [
        ("finished", [], 1, None),
        ("finished", [CUT_OFF], 1, None),
        ("lost", [WHOLE], 1, "lost"),
        ("lost", [AT_WORK], 1, "lost"),
        ("lost", [CUT_OFF, CUT_OFF], 1, "lost"),
        ("running", [CUT_OFF], 1, None),
        ("running", [WHOLE], 1, None),
        ("enqueued", [CUT_OFF], 1, None),
        ("retrying", [CUT_OFF], 1, None),
        ("failed", [CUT_OFF], 1, "error"),
        ("failed", [CUT_OFF], 1, "not_sent"),
        ("cancelled", [], 1, "cancelled"),
        ("enqueued", [], 1, None),
        ("failed", [], 1, "not_sent"),
    ],
)
def test_what_was_told_wrong(state, runs, attempt, code):
    assert judged(state, runs, attempt, code).startswith(WRONG)


def test_what_was_told_of_a_job_that_never_began():
    assert judged("enqueued", [], before="enqueued") == "waits"
    assert judged("failed", [], code="not_sent", before="enqueued") == "not sent"
    assert judged("lost", [], code="lost", before="enqueued").startswith(WRONG)
    assert judged("failed", [], code="worker_lost", before="enqueued").startswith(WRONG)
    assert judged("failed", [], code="worker_lost", before="enqueued", says="failed") == "worker_lost"


def test_runs_are_read_from_what_bodies_have_left(tmp_path):
    (tmp_path / "traces-one").write_text("began 1 a\nbegan 5 a\nended 6 a\n")
    (tmp_path / "traces-two").write_text("began 2 b\nended 3 b\n")
    found = traces(tmp_path)
    assert found["b"] == [Trace(began=2, ended=3)]
    assert found["a"] == [Trace(began=1), Trace(began=5, ended=6)]


@pytest.mark.parametrize(
    ("told", "does"),
    [
        ([("running", 1), ("finished", 1)], False),
        ([("lost", 1), ("finished", 1)], False),
        ([("finished", 1), ("running", 2)], False),
        ([("finished", 1), ("lost", 1)], True),
        ([("finished", 2), ("running", 1)], True),
    ],
)
def test_a_finished_job_that_changes_in_its_attempt_is_noticed(told, does):
    assert goes_back({"state": state, "attempt": attempt} for state, attempt in told) is does
