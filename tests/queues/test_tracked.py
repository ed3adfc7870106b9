from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from inspect import signature
from types import SimpleNamespace

import pytest
from celery import Celery, Task

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues.body import awaited
from immortus_channels.queues.tracked import MASK, TaskOptions, options_on, tracked


def pay(card, amount=1, *rest, **options):
    """A task with arguments of every kind."""


def params(options, *args, **kwargs):
    return options.params_of(signature(pay), args, kwargs)


def test_a_marked_function_is_found_by_its_name_and_does_what_it_did():
    def task(number, *, times=2):
        return number * times

    marked = tracked(task)
    assert (marked.__module__, marked.__qualname__) == (task.__module__, task.__qualname__)
    assert signature(marked) == signature(task)
    assert marked(5) == 10
    assert options_on(marked) == options_on(task) == TaskOptions()


def test_the_function_of_a_task_asks_before_its_body_runs():
    @tracked(params=True)
    def task():
        pytest.fail("the body of a refused run")

    token = awaited.set(SimpleNamespace(options=options_on(task), refused=True, value=None, body=nullcontext))
    assert task() is None
    awaited.reset(token)


def test_options_are_what_the_mark_says():
    class Strategy:
        pass

    @tracked(strategy=Strategy, handler="handler", params=True, mask=["card"], cancel="terminate", publish_result=True)
    def task(card):
        pass

    assert options_on(task) == TaskOptions(
        strategy=Strategy, handler="handler", params=True, mask=["card"], cancel="terminate", publish_result=True
    )


def test_what_is_not_marked_is_not_tracked():
    assert options_on(pay) is None
    assert options_on(None) is None


@pytest.mark.parametrize(
    ("given", "means"), [(True, "ask"), (False, "never"), ("ask", "ask"), ("terminate", "terminate")]
)
def test_cancel_is_ask_terminate_or_never(given, means):
    assert options_on(tracked(cancel=given)(lambda: None)).cancel == means


def test_another_word_for_cancel_is_refused_with_the_words_allowed():
    with pytest.raises(ConfigurationError, match=r"'kill'.*'ask', 'terminate' and False"):
        tracked(cancel="kill")(lambda: None)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="strategie"):
        tracked(strategie="x")(lambda: None)


DECORATED = """
from celery import Celery, shared_task
from immortus_channels.queues.tracked import tracked
app = Celery("x")
{above}
@{decorator}
def task():
    pass
"""


@pytest.mark.parametrize(
    "decorator", ["shared_task", "app.task", pytest.param("app.task(bind=True)", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "above", ["@tracked", pytest.param("@tracked()", marks=pytest.mark.slow), "@tracked(params=True)"]
)
def test_tracked_above_the_queue_s_decorator_shows_the_right_order(above, decorator):
    code = DECORATED.format(above=above, decorator=decorator)
    code += "\nprint('made')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "TypeError: @tracked stands above" in done.stderr
    assert "    @shared_task\n    @tracked" in done.stderr


def test_under_the_queues_decorator_the_mark_survives_every_kind_of_task():
    app = Celery("marking", set_as_current=False)

    @app.task(shared=False, bind=True, autoretry_for=(ValueError,), name="bound")
    @tracked(params=True)
    def bound(self):
        pass

    assert options_on(bound.run) == TaskOptions(params=True)


@pytest.mark.parametrize("options", [{}, {"bind": True}, {"autoretry_for": (ValueError,)}], ids=repr)
def test_celery_reads_the_arguments_of_a_tracked_task(options):
    def plain(path, size=1):
        return path, size

    def bound(self, path, size=1):
        return path, size

    app = Celery("reading", broker="memory://", set_as_current=False)
    task = app.task(**options, shared=False, name="reading")(tracked(bound if options.get("bind") else plain))
    assert task("a", size=2) == ("a", 2)
    for args, kwargs, wrong in ((), {}, "argument: 'path'"), (("a",), {"sise": 2}, "argument 'sise'"):
        with pytest.raises(TypeError, match=wrong):
            task.apply_async(args, kwargs)


def test_under_shared_task_the_mark_survives_too():
    code = DECORATED.format(above="@shared_task(name='shared')", decorator="tracked")
    code += "\nfrom immortus_channels.queues.tracked import options_on\nprint(options_on(task.run))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("TaskOptions(")


def test_called_a_task_that_exists_already_is_marked():
    app = Celery("called", set_as_current=False)

    @app.task(shared=False, name="theirs")
    def theirs():
        pass

    class Old(Task):
        name = "old"

        def run(self):
            pass

    old = app.register_task(Old())
    tracked(theirs)
    tracked(old, params=True)
    assert options_on(theirs) == TaskOptions()
    assert options_on(old) == TaskOptions(params=True)


def test_no_params_are_recorded_unless_asked_for():
    assert params(TaskOptions(), "4111") is None


@pytest.mark.case(55)
def test_params_are_named_defaults_included_and_masked():
    options = TaskOptions(params=True, mask=["card", "pin"])
    assert params(options, "4111", 2, 3, pin="0000", note="x") == {
        "card": MASK,
        "amount": 2,
        "rest": (3,),
        "pin": MASK,
        "note": "x",
    }
    assert params(options, "4111") == {"card": MASK, "amount": 1, "rest": ()}


def test_chosen_params_alone_are_recorded():
    assert params(TaskOptions(params=["amount"]), "4111", 2) == {"amount": 2}


def test_one_name_stands_for_itself_and_not_for_its_letters():
    options = options_on(tracked(params="amount", mask="amount")(lambda amount: None))
    assert params(options, "4111", 2) == {"amount": MASK}


def test_arguments_that_do_not_fit_are_recorded_by_keyword():
    options = TaskOptions(params=True, mask=["card"])
    assert options.params_of(signature(lambda a: a), (1, 2), {"card": "4111"}) == {"card": MASK}
    assert options.params_of(None, (1,), {"b": 2}) == {"b": 2}


@pytest.mark.parametrize("given", ["process_image_strategy", 7])
def test_what_is_no_task_is_said_with_the_way_to_give_options(given):
    with pytest.raises(TypeError, match=r"is not a task; options go by name"):
        tracked(given)


def test_an_option_that_there_is_not_is_said_with_those_that_there_are():
    with pytest.raises(TypeError, match=r"tracked\(\) has no option 'foo'; .* strategy, handler, params, mask, cancel"):
        tracked(foo=1)(lambda: None)
    with pytest.raises(TypeError, match="'place'"):
        tracked(place="x")(lambda: None)


def test_params_that_the_function_does_not_take_are_refused():
    def task(path, *, size=1):
        pass

    with pytest.raises(ConfigurationError, match=r"params=\['nope'\].* does not take 'nope'; it takes path, size"):
        tracked(params=["nope"])(task)
    assert options_on(tracked(params=["path", "size"])(task)).params == ["path", "size"]
    with pytest.raises(ConfigurationError, match="does not take 'nope'; it takes nothing"):
        tracked(params="nope")(lambda: None)


def test_a_misspelt_name_to_mask_is_refused():
    with pytest.raises(ConfigurationError, match=r"mask=\['pasword'\].*'pasword'; it takes user, password"):
        tracked(params=True, mask=["pasword"])(lambda user, password: None)


def test_an_owner_that_the_function_does_not_take_is_refused():
    def task(user_id, *, size=1):
        pass

    assert options_on(tracked(owner="user_id")(task)).owner == "user_id"
    assert options_on(tracked(owner=None)(task)).owner is None
    with pytest.raises(ConfigurationError, match=r"owner='user'\).* does not take 'user'; it takes user_id, size"):
        tracked(owner="user")(task)


@pytest.mark.parametrize("owner", ["", 7, ["user_id"], True])
def test_an_owner_is_the_name_of_one_argument(owner):
    with pytest.raises(ConfigurationError, match="give the name of the argument"):
        tracked(owner=owner)(lambda user_id: None)


def test_params_of_what_takes_anything_or_cannot_be_looked_at_are_believed():
    def unreadable():
        pass

    def takes_anything(**options):
        pass

    unreadable.__signature__ = "no signature"
    assert tracked(params=["nope"])(takes_anything)
    assert tracked(params=["nope"])(unreadable)
    assert tracked(Task(), params=["nope"])
