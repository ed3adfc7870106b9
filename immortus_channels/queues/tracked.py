"""`@tracked`: the mark on a task whose jobs are to be followed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues import marked, unsupported
from immortus_channels.queues.body import asking

if TYPE_CHECKING:
    from immortus_channels.jobs.events import CancelPolicy

MARK = marked.MARK
MASK = "********"

Task = TypeVar("Task")
Named = str | type | None
"""A class, its dotted path, or its short name; None is the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How the jobs of one task are tracked: its mark.

    `owner` names the argument that tells whose a job is where nothing else does, and `place` is the dotted name of the
    marked function, if any.
    """

    strategy: Named = None
    handler: Named = None
    params: bool | Collection[str] = False
    mask: Collection[str] = ()
    cancel: CancelPolicy = "ask"
    publish_result: bool = False
    owner: str | None = None
    place: str = field(default="", compare=False)

    def params_of(
        self, signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Return the arguments to record, by name, with the masked ones unreadable; None if none are recorded."""
        if not self.params:
            return None
        named = _bind(signature, args, kwargs)
        wanted = named if self.params is True else {k: v for k, v in named.items() if k in self.params}
        return {name: MASK if name in self.mask else value for name, value in wanted.items()}

    def owner_in(self, signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
        """Return the argument that tells the owner; None if it is missing, or if none is to tell."""
        return _bind(signature, args, kwargs).get(self.owner) if self.owner else None


def _bind(signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, those of `**options` by their own, so that each can be chosen and masked."""
    if signature is None:
        return dict(kwargs)
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError:
        return dict(kwargs)
    bound.apply_defaults()
    named = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update(named.pop(parameter.name, {}))
    return named


def options_on(task: object) -> TaskOptions | None:
    """Return the mark on a task, or on the function under a queue's decorator; None if it is not tracked."""
    mark = marked.mark_on(task)
    return mark if isinstance(mark, TaskOptions) else None


@overload
def tracked(task: Task, /, **options: Any) -> Task: ...
@overload
def tracked(
    *,
    strategy: Named = None,
    handler: Named = None,
    params: bool | Collection[str] = False,
    mask: Collection[str] = (),
    cancel: CancelPolicy | bool = "ask",
    publish_result: bool = False,
    owner: str | None = None,
) -> Callable[[Task], Task]: ...
def tracked(task: Any = None, /, **options: Any) -> Any:
    """Mark a task: its jobs are tracked from now on.

    Goes under the queue's own decorator, bare or with options, or above it, but for Celery's; `tracked(task, …)` marks
    an existing task. A task comes back as it is, and a function as one with its name and signature that does what it
    did. Only for a job that is over, cancelled while it waited for example, may the function leave its body out and
    return None.

    Raises TypeError above Celery's decorators and for an unknown option, ConfigurationError for a task of a queue that
    has no adapter, and for names in `params`, `mask` or `owner` that the function does not take.
    """
    if task is None:
        return lambda function: _mark(function, options, is_decorator=True)
    caller = inspect.currentframe()
    is_at_import = caller is not None and caller.f_back is not None and caller.f_back.f_code.co_name == "<module>"
    return _mark(task, options, is_decorator=is_at_import and _is_lazy(task))


def _mark(task: Any, given: Mapping[str, Any], *, is_decorator: bool) -> Any:
    unsupported.refuse(task)
    # Only the type is read: `isinstance` and `repr` would make a lazy task while its module is being imported.
    if is_decorator and not issubclass(type(task), _MARKABLE) and marked.place_in(task) is None:
        msg = (
            f"@tracked stands above the task queue's decorator (it got a {type(task).__name__}); it goes under it:\n"
            "    @shared_task\n    @tracked\n"
            "To track an existing task, call tracked(task) in an AppConfig.ready()."
        )
        raise TypeError(msg)
    place = _place_of(task)
    options = _options_from(given, place)
    _refuse_names_not_taken(marked.function_of(task) or task, options)
    if not marked.put(task, options):
        _put(task, options)
    unmarked.clear()
    if place:
        places.add(place)
    return asking(task, options) if type(task) is FunctionType else task


def _put(task: Any, options: TaskOptions) -> None:
    try:
        setattr(task, MARK, options)
    except AttributeError as error:
        msg = f"{task!r} is not a task; options go by name, as in @tracked(strategy={task!r})."
        raise TypeError(msg) from error


unmarked: set[object] = set()
"""Tasks that a queue has found not to be tracked; any of them may be after the next mark."""

places: set[str] = set()
"""The dotted names of all marked functions of modules: `manage.py check` asks whether a queue has them as tasks."""


def _place_of(task: Any) -> str:
    is_in_module = type(task) is FunctionType and "." not in task.__qualname__
    return f"{task.__module__}.{task.__qualname__}" if is_in_module else ""


_MARKABLE = (FunctionType, BuiltinFunctionType, MethodType, type)


def _is_lazy(task: object) -> bool:
    """Return whether this is what Celery's decorators return: a task that is made at its first use."""
    return type(task).__module__ == "celery.local"


def is_marked_function(thing: object, place: str) -> bool:
    """Return whether this is the very function that was marked at `place`, and not a task made of it."""
    options = options_on(thing) if type(thing) is FunctionType else None
    return options is not None and options.place == place


def _options_from(given: Mapping[str, Any], place: str) -> TaskOptions:
    unknown = sorted(given.keys() - set(_OPTIONS))
    if unknown:
        msg = f"tracked() has no option {unknown[0]!r}; its options are {', '.join(_OPTIONS)}."
        raise TypeError(msg)
    cancel = {True: "ask", False: "never"}.get(given.get("cancel", "ask"), given.get("cancel", "ask"))
    if cancel not in ("ask", "terminate", "never"):
        msg = f"@tracked(cancel={cancel!r}): allowed are 'ask', 'terminate' and False."
        raise ConfigurationError(msg)
    if not isinstance(given.get("owner"), str | None) or given.get("owner") == "":
        msg = f"@tracked(owner={given['owner']!r}): give the name of the argument with the id of the job's owner."
        raise ConfigurationError(msg)
    # A single name stands for itself, not for its letters.
    names = {name: (given[name],) for name in ("params", "mask") if isinstance(given.get(name), str)}
    return TaskOptions(**{**given, **names, "cancel": cancel}, place=place)


_OPTIONS = tuple(option.name for option in fields(TaskOptions) if option.name != "place")


def _refuse_names_not_taken(function: Any, options: TaskOptions) -> None:
    """Refuse names that the function does not accept: they would never be recorded, or never be masked."""
    if not isinstance(function, FunctionType | MethodType):
        return
    try:
        taken = inspect.signature(function).parameters
    except (TypeError, ValueError, NameError):  # annotations may name what only type checkers import
        return
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return
    owner = () if options.owner is None else (options.owner,)
    for option, named in (("params", options.params), ("mask", options.mask), ("owner", owner)):
        names = [] if isinstance(named, bool) else list(named)
        wrong = [name for name in names if name not in taken]
        if wrong:
            takes = f"does not take {wrong[0]!r}; it takes {', '.join(taken) or 'nothing'}"
            given = options.owner if option == "owner" else names
            msg = f"@tracked({option}={given!r}): {function.__qualname__} {takes}."
            raise ConfigurationError(msg)
