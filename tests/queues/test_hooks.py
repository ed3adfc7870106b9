"""A hook runs around a queue's method, which is called once and ends as it ends, whatever the hook does."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
from types import ModuleType

import pytest

from immortus_channels import queues
from immortus_channels.queues.hooks import Given, Instead, Outcome, around, guard
from tests.toys import ToyQueue


class TimeIsUp(Exception):
    """What the queue raises in the middle of running code."""


class Broke(Exception):
    """What a hook, or a task, raises."""


@pytest.fixture(autouse=True)
def queue(monkeypatch):
    queue = ToyQueue()
    queue.interrupts = (TimeIsUp,)
    monkeypatch.setattr(queues, "connected", [queue])


class Call:
    """A class with a method that hooks are put around, in the plain form and in the async one."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.calls: list[object] = []
        self.error: BaseException | None = None
        calls = self.calls

        def work(number):
            calls.append(number)
            if self.error is not None:
                raise self.error
            return number * 2

        class Plain:
            def method(self, number):
                return work(number)

        class Async:
            async def method(self, number):
                return work(number)

        self.owner = Async if is_async else Plain
        self.instance = self.owner()

    def hook(self, steps):
        """Put a hook around the method, written once: a list of what to do before and after."""

        def plain(instance, number):
            yield from steps(number)

        async def asynchronous(instance, number):
            inner = steps(number)
            try:
                asked = next(inner)
                while True:
                    told = yield asked
                    asked = inner.send(told)
            except StopIteration:
                return

        around(self.owner, method=asynchronous if self.is_async else plain)

    def __call__(self, number=4):
        answer = self.instance.method(number)
        return asyncio.run(answer) if self.is_async else answer


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def call(request):
    return Call(is_async=request.param)


def test_a_hook_runs_before_and_after_and_learns_the_outcome(call):
    seen = []

    def steps(number):
        seen.append((number, list(call.calls)))
        seen.append((yield))

    call.hook(steps)
    assert call() == 8
    assert seen == [(4, []), Outcome(8)]


def test_a_hook_learns_what_the_method_raised_which_raises_on(call):
    seen = []

    def steps(_):
        seen.append((yield).error)
        yield Instead("an answer")

    call.hook(steps)
    call.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        call()
    assert seen == [call.error]


@pytest.mark.parametrize("when", ["before", "after", "after an error"])
def test_what_a_hook_raises_is_logged_and_changes_nothing(call, caplog, when):
    def steps(_):
        if when == "before":
            raise Broke
        yield
        raise Broke

    call.hook(steps)
    call.error = RuntimeError("the task's") if when == "after an error" else None
    if call.error is None:
        assert call() == 8
    else:
        with pytest.raises(RuntimeError, match="the task's"):
            call()
    assert call.calls == [4]
    (record,) = caplog.records
    assert "Tracking failed in " in record.message
    assert record.message.endswith("; the job continues")
    assert record.exc_info[0] is Broke


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_the_queue_raises_in_running_code_passes_a_hook(call, when):
    def steps(_):
        if when == "before":
            raise TimeIsUp
        yield
        raise TimeIsUp

    call.hook(steps)
    with pytest.raises(TimeIsUp):
        call()
    assert call.calls == ([] if when == "before" else [4])


def test_a_hook_answers_in_place_of_the_method(call):
    def steps(_):
        yield Instead("no")

    call.hook(steps)
    assert call() == "no"
    assert call.calls == []


def test_a_hook_raises_in_place_of_the_method(call):
    def steps(_):
        yield Instead(error=Broke())

    call.hook(steps)
    with pytest.raises(Broke):
        call()
    assert call.calls == []


def test_a_hook_changes_the_answer_of_a_method_that_returned(call):
    def steps(_):
        yield Instead((yield).value + 1)

    call.hook(steps)
    assert call() == 9


def test_a_hook_changes_the_arguments_and_learns_the_outcome(call):
    seen = []

    def steps(number):
        seen.append((yield Given((call.instance,), {"number": number + 1})))

    call.hook(steps)
    assert call() == 10
    assert call.calls == [5]
    assert seen == [Outcome(10)]


def test_arguments_that_come_after_the_call_change_nothing(call):
    def steps(_):
        yield
        yield Given((call.instance, 9), {})

    call.hook(steps)
    assert call() == 8
    assert call.calls == [4]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_method_is_called_once_however_often_a_hook_yields(call, count):
    def steps(_):
        for _number in range(count):
            yield

    call.hook(steps)
    assert call() == 8
    assert call.calls == [4]


def test_a_hook_that_has_nothing_to_say_returns_none(call):
    seen = []
    around(call.owner, method=lambda _, number: seen.append(number))
    assert call() == 8
    assert seen == [4]


def test_a_hook_that_raises_at_once_is_logged(call, caplog):
    def breaks(*_):
        raise Broke

    around(call.owner, method=breaks)
    assert call() == 8
    assert "breaks" in caplog.text


def test_a_hook_is_added_once_and_another_beside_it(call):
    seen = []

    def first(_, number):
        seen.append("first")

    def second(_, number):
        seen.append("second")

    for hook in (first, second, first, second):
        around(call.owner, method=hook)
    call()
    assert seen == ["second", "first"]


def test_two_hooks_from_one_factory_are_two(call):
    def noting(seen):
        return lambda _, number: seen.append(number)

    first, second = [], []
    around(call.owner, method=noting(first))
    around(call.owner, method=noting(second))
    call()
    assert first == second == [4]


def test_a_method_of_one_object_is_one_hook_and_another_s_another(call):
    class Adapter:
        def __init__(self):
            self.seen = []

        def hook(self, _, number):
            self.seen.append(number)

    adapters = [Adapter(), Adapter()]
    for adapter in [*adapters, *adapters]:
        around(call.owner, method=adapter.hook)
    call()
    assert [adapter.seen for adapter in adapters] == [[4], [4]]


def test_a_hook_may_be_any_callable(call, caplog):
    def noting(seen, _, number):
        seen.append(number)
        raise Broke

    seen = []
    hook = functools.partial(noting, seen)
    for _ in range(2):
        around(call.owner, method=hook)
    assert call() == 8
    assert seen == [4]
    assert "Tracking failed in functools.partial(" in caplog.text


class Odd:
    """Has what is no method."""

    value = 3
    called = len
    kind = Call

    @staticmethod
    def static(number):
        """Gets no object."""

    @property
    def read(self):
        """Is not called."""


@pytest.mark.parametrize("name", ["static", "read", "value", "called", "kind"])
def test_hooks_run_around_methods_alone(name):
    before = inspect.getattr_static(Odd, name)
    with pytest.raises(TypeError, match=rf"Odd\.{name} is a \w+: hooks run around methods"):
        around(Odd, **{name: lambda *_: None})
    assert inspect.getattr_static(Odd, name) is before


class Pool:
    """Its worker's processes look for the method by its name."""

    @classmethod
    def run(cls, number):
        return cls.__name__, number

    @classmethod
    async def arun(cls, number):
        return cls.__name__, number


def test_a_hook_around_a_class_method_gets_the_class():
    owner = type("Owner", (Pool,), {})
    seen = []

    def hook(kind, number):
        seen.append((kind, number, (yield).value))

    around(owner, run=hook)
    around(owner, run=hook)
    assert (owner.run(1), owner().run(2), Pool.run(3)) == (("Owner", 1), ("Owner", 2), ("Pool", 3))
    assert seen == [(owner, 1, ("Owner", 1)), (owner, 2, ("Owner", 2))]
    heir = type("Heir", (owner,), {})
    assert heir.run(4) == ("Heir", 4)
    assert seen[-1] == (heir, 4, ("Heir", 4))


async def test_so_does_one_around_a_class_method_that_is_a_coroutine():
    owner = type("Owner", (Pool,), {})
    seen = []

    async def hook(kind, number):
        seen.append((kind, (yield).value))

    around(owner, arun=hook)
    assert await owner.arun(1) == ("Owner", 1)
    assert seen == [(owner, ("Owner", 1))]


def test_objects_that_are_older_than_a_hook_and_subclasses_have_it(call):
    seen = []
    kind = type("Sub", (call.owner,), {})
    around(call.owner, method=lambda *_: seen.append(1))
    call()
    call.instance = kind()
    call()
    assert seen == [1, 1]


def test_a_method_keeps_its_name_and_kind(call):
    around(call.owner, method=lambda *_: None)
    assert call.owner.method.__name__ == "method"
    assert inspect.iscoroutinefunction(call.owner.method) is call.is_async


def test_a_name_that_the_queue_no_longer_has_is_an_error(call):
    with pytest.raises(AttributeError):
        around(call.owner, gone=lambda *_: None)


def test_a_hook_on_an_event_loop_awaits_while_the_loop_runs_on():
    call, seen = Call(is_async=True), []

    async def hook(instance, number):
        await asyncio.sleep(0)
        seen.append(("before", number))
        yield
        await asyncio.sleep(0)
        seen.append(("after", number))

    async def both():
        return await asyncio.gather(call.instance.method(1), call.instance.method(2))

    around(call.owner, method=hook)
    assert asyncio.run(both()) == [2, 4]
    assert seen == [("before", 1), ("before", 2), ("after", 1), ("after", 2)]


def test_an_async_hook_that_answers_leaves_nothing_to_the_event_loop(caplog):
    call, left = Call(is_async=True), []

    async def hook(instance, number):
        try:
            yield Instead("no")
        finally:
            left.append(number)

    async def ask():
        answer = await call.instance.method(4)
        return answer, list(left)

    around(call.owner, method=hook)
    with caplog.at_level(logging.ERROR):
        assert asyncio.run(ask()) == ("no", [4])
        gc.collect()
    assert caplog.text == ""


def test_a_cancelled_task_passes_an_async_hook():
    call, seen = Call(is_async=True), []

    async def hook(instance, number):
        seen.append(type((yield).error))

    around(call.owner, method=hook)
    call.error = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        call()
    assert seen == [asyncio.CancelledError]


# Signals


def test_a_guarded_receiver_that_raises_is_logged(caplog):
    @guard
    def breaks(**_):
        raise Broke

    assert breaks(sender=1) is None
    assert "Tracking failed in test_a_guarded_receiver_that_raises_is_logged.<locals>.breaks" in caplog.text


def test_a_guarded_receiver_answers_and_keeps_its_name():
    @guard
    def receiver(number, *, more):
        return number + more

    assert receiver(1, more=2) == 3
    assert receiver.__name__ == "receiver"


def test_what_the_queue_raises_in_running_code_passes_a_guard():
    @guard
    def breaks():
        raise TimeIsUp

    with pytest.raises(TimeIsUp):
        breaks()


def test_a_function_that_is_looked_up_in_its_module_is_hooked_too():
    module, seen = ModuleType("queue"), []
    module.work = lambda number: number * 2

    def hook(number):
        seen.append(number)
        seen.append((yield).value)

    for _ in range(2):
        around(module, work=hook)
    assert module.work(4) == 8
    assert seen == [4, 8]
