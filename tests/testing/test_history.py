"""The history tells every broken promise, and nothing else."""

from __future__ import annotations

import pytest

from immortus_channels.testing import History


def document(version, state="running", **fields):
    return {"job_id": "j", "version": version, "state": state, "attempt": 1, **fields}


DONE = document(9, "finished")
WRITES = (document(1), document(5), DONE)


def history_of(*shown, writes=WRITES, seed=None):
    """A history with a write each second and what one viewer was shown, at the times given."""
    history = History(seed)
    for second, write in enumerate(writes):
        history.wrote(write, second)
    for at, one in shown:
        history.shown("ann", one, at)
    return history


def rules(history, **how):
    return [finding.rule for finding in history.findings(**how)]


def test_a_page_that_misses_versions_and_gets_the_last_one_is_right():
    history_of((0, document(1)), (2.5, DONE)).check(within=1.6)


def test_a_page_may_be_shown_the_same_document_again():
    history_of((0, document(1)), (1, document(1)), (2, DONE), (3, DONE)).check()


def test_an_older_version_after_a_newer_one_is_found():
    history = history_of((1, document(5)), (2, document(1)), (3, DONE))
    (finding,) = history.findings()
    assert str(finding) == "went back: ann, job j: version 1 (running) was shown after version 5 (running)"


def test_a_page_that_stays_behind_is_found():
    assert rules(history_of((0, document(1)))) == ["stuck"]


def test_a_viewer_who_has_left_need_not_be_shown_what_comes_after():
    history = history_of((0, document(1)), (1.1, document(5)))
    history.left("ann", 1.5)
    history.check()


def test_what_nobody_wrote_is_found():
    assert rules(history_of((0, document(3)), (2, DONE))) == ["never written"]


def test_one_version_with_two_texts_is_found():
    assert rules(history_of((0, document(5, percentage=7)), (2, DONE))) == ["not as written"]


def test_a_job_that_goes_on_after_its_end_is_found():
    writes = (DONE, document(12))
    assert rules(history_of((0, DONE), (1, document(12)), writes=writes)) == ["changed after its end"]


def test_the_next_attempt_of_a_job_and_the_revival_of_a_lost_one_are_right():
    writes = (document(1, "failed"), document(2, attempt=2), document(3, "lost", attempt=2), document(4, attempt=2))
    history_of(*enumerate(writes), writes=writes).check()


@pytest.mark.parametrize(("times", "found"), [(0, True), (1, False), (2, True)])
def test_a_viewer_settles_exactly_once(times, found):
    history = history_of((2, DONE))
    history.settled("somebody else", "another job")
    for _ in range(times):
        history.settled("ann", "j")
    assert rules(history) == ["settled wrongly"] * found


def test_settling_before_the_end_is_found():
    history = history_of((0, document(1)), writes=(document(1),))
    history.settled("ann", "j")
    assert rules(history) == ["settled wrongly"]


def test_a_write_that_is_shown_too_late_is_found():
    history = history_of((0, document(1)), (9, DONE))
    assert rules(history, within=7.5) == ["late"]
    assert rules(history, within=9) == []


def test_staleness_counts_from_the_write_or_the_first_look():
    staleness = history_of((0.5, document(1)), (3, document(5)), (3, DONE)).staleness()
    assert (staleness.median, staleness.longest, staleness.writes) == (1, 2, 2)
    assert str(staleness) == "staleness over 2 writes: median 1.000 s, 95 % within 2.000 s, longest 2.000 s"
    assert History().staleness().writes == 0


def test_a_failed_check_tells_the_seed_and_each_finding():
    with pytest.raises(AssertionError, match=r"1 broken promises \(seed 42; staleness .*\):\n- stuck: ann, job j"):
        history_of((0, document(1)), seed=42).check()
