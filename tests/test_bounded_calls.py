"""Questions to what may hang: nobody waits for long, and who did not answer is left alone for a while."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from immortus_channels import bounded_calls
from immortus_channels.bounded_calls import NoAnswer, ask

here: ContextVar[str] = ContextVar("here")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(bounded_calls, "PATIENCE", 0.2)
    monkeypatch.setattr(bounded_calls, "PAUSE", 0.3)
    bounded_calls._targets.clear()
    yield
    bounded_calls._targets.clear()


@pytest.fixture
def hanging():
    """A question without an answer until the test is over."""
    over = threading.Event()
    yield lambda: over.wait(10)
    over.set()


def test_asking_returns_what_the_question_returns_or_raises_its_error():
    assert ask("somebody", lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        ask("somebody", lambda: 1 / 0)


def test_an_error_that_looks_like_a_missing_answer_is_the_question_s_own(caplog):
    def too_slow():
        raise TimeoutError(5)

    with pytest.raises(TimeoutError, match="5"):
        ask("somebody", too_slow)
    assert ask("somebody", lambda: 5) == 5
    assert not caplog.records


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_would_end_a_process_ends_only_the_answer(end):
    def ends():
        raise end

    with pytest.raises(RuntimeError, match=end.__name__):
        ask("somebody", ends)


def test_it_is_asked_in_the_caller_s_context_and_another_thread():
    here.set("a request")
    assert ask("somebody", lambda: (here.get(), threading.current_thread() is threading.main_thread())) == (
        "a request",
        False,
    )


def test_nobody_waits_longer_than_patience_and_the_log_says_for_whom(hanging, caplog):
    began = time.monotonic()
    with pytest.raises(NoAnswer):
        ask("the records of celery", hanging)
    assert 0.2 <= time.monotonic() - began < 1
    assert "No answer from the records of celery within 0.2 s" in caplog.text


def test_who_did_not_answer_is_left_alone_for_a_while_and_then_asked_again(hanging):
    with pytest.raises(NoAnswer):
        ask("somebody", hanging)
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(NoAnswer):
            ask("somebody", lambda: 5)
    assert time.monotonic() - began < 0.2
    assert ask("another", lambda: 5) == 5
    time.sleep(0.3)
    assert ask("somebody", lambda: 5) == 5


def test_a_question_that_hangs_takes_no_more_threads_than_allowed(hanging, monkeypatch):
    monkeypatch.setattr(bounded_calls, "PAUSE", 0)
    before = threading.active_count()
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(ask, "somebody", hanging) for _ in range(20)]
        assert {type(each.exception()) for each in asked} == {NoAnswer}
    assert threading.active_count() - before <= bounded_calls.MOST


def test_an_answer_that_comes_too_late_makes_room_again(monkeypatch):
    monkeypatch.setattr(bounded_calls, "PAUSE", 0)
    for _ in range(bounded_calls.MOST):
        with pytest.raises(NoAnswer):
            ask("somebody", lambda: time.sleep(0.5))
    time.sleep(0.6)
    assert ask("somebody", lambda: 5) == 5


def test_a_child_is_not_kept_waiting_by_what_hangs_in_its_parent(hanging):
    with pytest.raises(NoAnswer):
        ask("somebody", hanging)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if ask("somebody", lambda: 5) == 5 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_where_no_thread_can_be_started_it_is_an_error_of_the_question(monkeypatch):
    def cannot(_):
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", cannot)
    for _ in range(bounded_calls.MOST + 1):
        with pytest.raises(RuntimeError, match="new thread"):
            ask("somebody", lambda: 5)
