"""Hooks in a queue's own methods and signals: what they raise is logged, and the queue goes on without them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from functools import wraps
from inspect import getattr_static, iscoroutinefunction
from typing import Any, NamedTuple, ParamSpec, TypeVar

from immortus_channels.guarded import interrupts
from immortus_channels.logs import logger

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_HOOKS = "__immortus_hooks__"
"""The hooks that a method has."""


class Outcome(NamedTuple):
    """How the queue's own method ended: a hook's `yield` returns it."""

    value: Any = None
    error: BaseException | None = None


class Instead(NamedTuple):
    """What a hook yields to answer in place of the queue's own method, or of what that returned."""

    value: Any = None
    error: BaseException | None = None

    def give(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


class Given(NamedTuple):
    """What a hook yields to have the queue's own method called with these arguments, not with those that were given.

    The object that the method is called on is the first of them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def guard(hook: Callable[Arguments, Answer]) -> Callable[Arguments, Answer | None]:
    """Return the hook in a form that logs what it raises and then returns None.

    What the queue raises in the middle of running code (`Queue.interrupts`) passes: a hook may not stop that.
    """

    @wraps(hook)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer | None:
        try:
            return hook(*args, **kwargs)
        except interrupts():
            raise
        except Exception as error:  # noqa: BLE001 - it is logged
            _log(hook, error)
            return None

    return guarded


def around(owner: object, /, **hooks: Callable[..., Any]) -> None:
    """Have hooks run around the methods of these names, in every object of the class, however old.

    Functions of a module, or those that an object holds, are hooked likewise, for all who look them up there: who has
    imported one before has it bare.

    A hook gets the method's arguments, and returns None for what does not concern it. Otherwise it is a generator, an
    async one around a coroutine method: what stands before its `yield` runs before the method, and the `yield` returns
    the method's `Outcome`. It may yield `Given` to change the arguments, `Instead` to have the method left out, or that
    a second time after a method that returned, to change its answer. Whatever else a hook does, the method is called
    once, and ends as it ended. Around a class method it gets the class first.

    A hook is added once to a method, however often this is called: the same function, or the same object's method.
    Raises TypeError for what is not called on an object or a class, such as a static method or a property.
    """
    for name, hook in hooks.items():
        _refuse_other_kinds(owner, name)
        found = getattr_static(owner, name)
        is_of_class = isinstance(found, classmethod)
        original = found.__func__ if is_of_class else getattr(owner, name)
        present = getattr(original, _HOOKS, ())
        if hook not in present:
            wrap = _around_coroutine if iscoroutinefunction(original) else _around
            method = wraps(original)(wrap(original, guard(hook)))
            setattr(method, _HOOKS, (*present, hook))
            setattr(owner, name, classmethod(method) if is_of_class else method)


def _refuse_other_kinds(owner: object, name: str) -> None:
    found = getattr_static(owner, name)
    if isinstance(found, classmethod):
        return
    if isinstance(found, staticmethod) or not (callable(found) and hasattr(type(found), "__get__")):
        what = f"{getattr(owner, '__name__', owner)}.{name} is a {type(found).__name__}"
        msg = f"{what}: hooks run around methods of objects and classes, plain ones and coroutine methods."
        raise TypeError(msg)


def _around(original: Callable[..., Any], hook: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        steps = hook(*args, **kwargs)
        if steps is None:
            return original(*args, **kwargs)
        answer = _go_on(steps)
        if isinstance(answer, Instead):
            return answer.give()
        if answer is not None:
            args, kwargs = answer
        try:
            value = original(*args, **kwargs)
        except BaseException as error:
            _go_on(steps, Outcome(error=error))
            raise
        answer = _go_on(steps, Outcome(value))
        return answer.give() if isinstance(answer, Instead) else value

    return method


def _go_on(steps: Generator[Any, Outcome | None], outcome: Outcome | None = None) -> Instead | Given | None:
    """Run a hook until it yields; return what it wants answered, or given to the method."""
    try:
        answer = steps.send(outcome)
    except StopIteration:
        return None
    except interrupts():
        raise
    except Exception as error:  # noqa: BLE001 - it is logged
        _log(steps, error)
        return None
    return answer if isinstance(answer, Instead | Given) else None


def _around_coroutine(original: Callable[..., Any], hook: Callable[..., Any]) -> Callable[..., Any]:
    async def method(*args: Any, **kwargs: Any) -> Any:
        steps = hook(*args, **kwargs)
        if steps is None:
            return await original(*args, **kwargs)
        answer = await _ago_on(steps)
        if isinstance(answer, Instead):
            return answer.give()
        if answer is not None:
            args, kwargs = answer
        try:
            value = await original(*args, **kwargs)
        except BaseException as error:
            await _ago_on(steps, Outcome(error=error))
            raise
        answer = await _ago_on(steps, Outcome(value))
        return answer.give() if isinstance(answer, Instead) else value

    return method


async def _ago_on(steps: AsyncGenerator[Any, Outcome | None], outcome: Outcome | None = None) -> Instead | Given | None:
    """Do what `_go_on` does, with an async hook, which the event loop must not find unfinished."""
    try:
        answer = await steps.asend(outcome)
        if isinstance(answer, Instead):
            await steps.aclose()
        return answer if isinstance(answer, Instead | Given) else None
    except StopAsyncIteration:
        return None
    except interrupts():
        raise
    except Exception as error:  # noqa: BLE001 - it is logged
        _log(steps, error)
    return None


def _log(hook: object, error: Exception) -> None:
    name = getattr(hook, "__qualname__", hook)
    logger.error("Tracking failed in %s; the job continues", name, exc_info=error)
