"""The function of a tracked task asks before its body runs, for a message of that task, and for no other call."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from immortus_channels.queues.body import asking, awaited

MARK, OTHER = object(), object()


class Message:
    """A message that this process works at, as far as the function knows it."""

    def __init__(self, options: object = MARK, *, refused: bool = False) -> None:
        self.options, self.refused = options, refused
        self.value: object = None
        self.error: BaseException | None = None

    @contextmanager
    def body(self) -> Iterator[None]:
        awaited.set(None)
        try:
            yield
        except BaseException as error:
            self.error = error
            raise


@pytest.fixture
def message():
    """A message of the task has begun here."""
    return begun(Message())


@pytest.fixture(autouse=True)
def _nothing_awaited():
    yield
    awaited.set(None)


def begun(message: Message) -> Message:
    awaited.set(message)
    return message


def double(number: int, *, times: int = 2) -> int:
    """Doubles."""
    return number * times


async def double_later(number: int, *, times: int = 2) -> int:
    """Doubles, too."""
    await asyncio.sleep(0)
    return number * times


plain = double
double = asking(double, MARK)
later = asking(double_later, MARK)


async def call(function, *args, **kwargs):
    """What the function gives, of either kind."""
    given = function(*args, **kwargs)
    return await given if inspect.isawaitable(given) else given


both = pytest.mark.parametrize("function", [double, later], ids=["sync", "async"])


@both
async def test_a_call_without_a_message_goes_past(function):
    assert await call(function, 2, times=5) == 10


@both
async def test_a_message_s_run_notes_what_the_body_returned(function, message):
    assert await call(function, 2) == 4
    assert (message.value, message.error) == (4, None)


@both
async def test_a_refused_run_returns_none_and_leaves_the_body_out(function):
    message = begun(Message(refused=True))
    assert await call(function, "not a number", times=None) is None
    assert message.value is None


@both
async def test_what_the_body_raises_is_noted_and_raised(function, message):
    with pytest.raises(TypeError, match="unsupported operand"):
        await call(function, None)
    assert isinstance(message.error, TypeError)


@both
async def test_a_call_of_another_task_leaves_the_message_to_its_own(function):
    message = begun(Message(OTHER, refused=True))
    assert await call(function, 2) == 4
    assert awaited.get() is message
    assert message.value is None


def test_what_the_body_calls_is_not_the_body(message):
    def count_down(number: int) -> list[int]:
        assert awaited.get() is None
        message.refused = True
        return [number, *count_down(number - 1)] if number else []

    count_down = asking(count_down, MARK)
    assert count_down(3) == [3, 2, 1]
    assert message.value == [3, 2, 1]


async def test_each_message_on_a_loop_has_its_own_answer():
    async def run(number: int, *, refused: bool) -> int | None:
        begun(Message(refused=refused))
        return await later(number)

    assert await asyncio.gather(run(1, refused=False), run(2, refused=True), run(3, refused=False)) == [2, None, 6]


def test_a_coroutine_function_stays_one_and_any_other_as_well():
    assert inspect.iscoroutinefunction(later)
    assert not inspect.iscoroutinefunction(double)
    assert inspect.isfunction(double)


def test_it_is_found_and_pickled_by_its_name():
    assert (double.__module__, double.__qualname__, double.__doc__) == (__name__, "double", "Doubles.")
    assert pickle.loads(pickle.dumps(double)) is double


@both
def test_it_has_the_signature_for_those_who_look_at_no_wrapped_one(function):
    assert inspect.signature(function) == inspect.signature(plain)
    spec = inspect.getfullargspec(function)
    assert (spec.args, spec.varargs, spec.kwonlydefaults) == (["number"], None, {"times": 2})


@pytest.mark.parametrize("annotation", ["no signature", None])
def test_a_function_whose_signature_cannot_be_read_is_one_all_the_same(annotation):
    def unreadable() -> int:
        return 5

    unreadable.__signature__ = annotation
    assert asking(unreadable, MARK)() == 5


def test_a_generator_s_body_runs_where_it_ran(message):
    def count():
        yield 1

    assert list(asking(count, MARK)()) == [1]
