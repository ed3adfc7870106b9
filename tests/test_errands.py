"""Errands: each is done once, by threads that there are only while something is to be done."""

from __future__ import annotations

import os
import threading

import pytest

from immortus_channels.errands import Errands
from tests.toys import eventually


class Noting(Errands[str, int]):
    """Notes what it does, once it may."""

    NAME = "immortus-noting"

    def _begin(self):
        super()._begin()
        self.done = []
        self.open = threading.Event()

    def put(self, key, value=0):
        with self._condition:
            self._put(key, value)

    def end(self):
        with self._condition:
            self._is_ending = True
            self._condition.notify_all()

    def _work(self):
        while (due := self._next()) is not None:
            self.open.wait(5)
            self.done.append(due)
            with self._condition:
                self._pending.pop(due[0], None)


@pytest.fixture
def errands():
    errands = Noting()
    yield errands
    errands.open.set()
    errands.end()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == Noting.NAME]


def test_each_is_done_once_the_oldest_first_by_one_thread_that_ends(errands):
    for key, value in (("a", 1), ("b", 2), ("a", 3)):
        errands.put(key, value)
    assert (len(errands), len(threads())) == (2, 1)
    errands.open.set()
    assert eventually(lambda: not len(errands) and not threads())
    assert [key for key, _ in errands.done] == ["a", "b"]
    errands.put("c")
    assert eventually(lambda: errands.done[-1] == ("c", 0))


def test_a_thread_waits_for_more_until_it_is_to_end(errands, monkeypatch):
    monkeypatch.setattr(Noting, "IDLE", 10)
    errands.open.set()
    errands.put("a")
    assert eventually(lambda: errands.done)
    (thread,) = threads()
    errands.put("b")
    assert eventually(lambda: len(errands.done) == 2)
    assert threads() == [thread]
    errands.end()
    assert eventually(lambda: not threads())


def test_there_are_no_more_threads_than_allowed(errands, monkeypatch):
    monkeypatch.setattr(Noting, "MOST", 2)
    for number in range(5):
        errands.put(str(number))
    assert len(threads()) == 2


def test_without_a_thread_it_waits_for_the_next_one(errands, monkeypatch):
    def cannot(_):
        raise RuntimeError

    errands.open.set()
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", cannot)
        with pytest.raises(RuntimeError):
            errands.put("a")
    errands.put("b")
    assert eventually(lambda: [key for key, _ in errands.done] == ["a", "b"])


def test_a_forked_child_has_nothing_to_do_and_can_do_something(errands):
    errands.put("a")
    child = os.fork()
    if child == 0:
        try:
            has_none = not len(errands)
            errands.open.set()
            errands.put("b")
            os._exit(0 if has_none and eventually(lambda: errands.done == [("b", 0)]) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert len(errands) == 1
