"""Whether threads are greenlets is seen without importing what makes them so; a call in a thread ends alone."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextvars import ContextVar
from types import SimpleNamespace

import pytest

from immortus_channels.threads import await_in_thread, call_in_thread, is_green, is_in_event_loop

here: ContextVar[str] = ContextVar("here")


def test_threads_are_threads():
    assert not is_green()


@pytest.mark.parametrize(
    ("name", "patched"),
    [
        ("gevent.monkey", {"is_module_patched": lambda name: name == "threading"}),
        ("eventlet.patcher", {"is_monkey_patched": lambda name: name == "thread"}),
    ],
)
def test_a_patch_is_seen(monkeypatch, name, patched):
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(**patched))
    assert is_green()


def test_an_event_loop_is_seen_from_inside():
    async def ask():
        return is_in_event_loop()

    assert asyncio.run(ask())
    assert not is_in_event_loop()


def test_a_call_in_a_thread_has_the_caller_s_context():
    here.set("a request")
    answer = call_in_thread(lambda: (here.get(), threading.current_thread().name), name="immortus-test")
    assert answer.result(1) == ("a request", "immortus-test")


@pytest.mark.parametrize(
    ("raised", "told", "text"), [(KeyError("x"), KeyError, "'x'"), (SystemExit(1), RuntimeError, "SystemExit was")]
)
def test_what_a_call_raises_is_raised_where_its_answer_is_waited_for(raised, told, text):
    def fails():
        raise raised

    with pytest.raises(told, match=text):
        call_in_thread(fails).result(1)


async def test_a_call_in_a_thread_can_be_awaited_or_left_behind():
    here.set("a task")
    assert await await_in_thread(here.get) == "a task"
    with pytest.raises(KeyError):
        await await_in_thread(lambda: {}["x"])
    end, ended = threading.Event(), threading.Event()
    task = asyncio.create_task(await_in_thread(lambda: end.wait(5) and ended.set()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    end.set()
    assert ended.wait(5)


def test_a_call_that_takes_too_long_is_left_behind():
    end = threading.Event()
    answer = call_in_thread(lambda: end.wait(10))
    with pytest.raises(TimeoutError):
        answer.result(0.01)
    end.set()
    assert answer.result(1)
