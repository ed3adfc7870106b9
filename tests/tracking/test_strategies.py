from __future__ import annotations

import copy
import pickle
import sys
import types

import pytest
from django.apps import apps
from django.test import override_settings

from immortus_channels import loading, queues
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import StrategyNotFound
from immortus_channels.jobs.job import Job
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.tracking import strategies
from immortus_channels.tracking.strategies import Calling, defines, get_strategy, load, strategy_for, strategy_of
from tests.toys import ToyQueue


class Inline(TrackingStrategy):
    pass


class FromSetting(TrackingStrategy):
    pass


class OfQueue(TrackingStrategy):
    pass


class Broken(TrackingStrategy):
    def __init__(self):
        msg = "no database yet"
        raise RuntimeError(msg)


@pytest.fixture
def queue(monkeypatch):
    queue = ToyQueue(plain=TaskOptions(), inline=TaskOptions(strategy=Inline), missing=TaskOptions(strategy="nowhere"))
    queue.strategy = OfQueue
    queue.tasks["broken"] = TaskOptions(strategy=Broken)
    monkeypatch.setattr(queues, "connected", [queue])
    return queue


@pytest.fixture
def short_names(monkeypatch):
    """The `tracking_strategies` module of an installed app."""
    name = "immortus_channels.tracking_strategies"
    module = types.ModuleType(name)
    module.ProcessImageStrategy = type("ProcessImageStrategy", (TrackingStrategy,), {})
    monkeypatch.setitem(sys.modules, name, module)
    ours = apps.get_app_config("immortus_channels").module
    monkeypatch.setattr(loading, "module_has_submodule", lambda package, _: package is ours)
    load.cache_clear()
    yield module
    load.cache_clear()


# Which strategy


@pytest.mark.case(11)
def test_the_inline_one_wins_over_the_setting_and_that_over_the_queues(queue):
    assert type(strategy_for("plain")) is OfQueue
    with override_settings(IMMORTUS_TRACKING_STRATEGY=FromSetting):
        assert type(strategy_for("plain")) is FromSetting
        assert type(strategy_for("inline")) is Inline


def test_without_any_queue_the_silent_one_serves(monkeypatch):
    monkeypatch.setattr(queues, "connected", [])
    assert type(strategy_for("whatever")) is TrackingStrategy


def test_a_strategy_is_made_once():
    assert load(Inline) is load(Inline)


def test_a_strategy_is_found_by_its_dotted_path():
    assert type(load(f"{__name__}.Inline")) is Inline


@pytest.mark.case(12)
@pytest.mark.parametrize("name", ["process_image_strategy", "ProcessImageStrategy"])
def test_a_strategy_is_found_by_its_short_name(short_names, name):
    assert type(load(name)) is short_names.ProcessImageStrategy


@pytest.mark.parametrize(
    ("name", "tried"),
    [("nowhere", r"immortus_channels\.tracking_strategies\.Nowhere"), ("no.where", r"no\.where \(No module")],
)
def test_a_name_that_resolves_to_nothing_lists_what_was_tried(name, tried):
    with pytest.raises(StrategyNotFound, match=f"{name!r}.*{tried}"):
        load(name)


@pytest.mark.parametrize("name", ["missing", "broken"])
def test_a_job_without_a_usable_strategy_is_followed_silently_and_logged(queue, name, caplog):
    assert type(strategy_of(name, "j")) is TrackingStrategy
    assert [record.job_id for record in caplog.records] == ["j"]


def test_the_strategy_of_a_task_is_found_by_the_task_and_by_its_name(queue):
    class Task:
        toy_name = "inline"

    assert get_strategy("inline") is get_strategy(Task()) is load(Inline)


def test_a_name_that_no_task_has_is_refused_unless_one_strategy_serves_all(queue):
    with pytest.raises(StrategyNotFound, match=r"'inlin'.*Known are: broken, inline, missing, plain\."):
        get_strategy("inlin")
    with override_settings(IMMORTUS_TRACKING_STRATEGY=FromSetting):
        assert type(get_strategy("sent.by_name")) is FromSetting


def test_changing_the_setting_forgets_what_was_loaded(queue):
    with override_settings(IMMORTUS_TRACKING_STRATEGY=FromSetting):
        first = strategy_for("plain")
    with override_settings(IMMORTUS_TRACKING_STRATEGY=FromSetting):
        assert strategy_for("plain") is not first


# What a strategy says


def test_the_silent_strategy_defines_nothing():
    assert not defines(TrackingStrategy(), *strategies.HOOKS, "meta", "completed", "status")
    assert not defines(Inline(), *strategies.HOOKS, "meta")


def test_what_a_strategy_cannot_even_be_asked_for_it_does_not_define():
    class Odd:
        meta = property(lambda self: 1 / 0)

        def completed(self, job_id):
            return True

    assert not defines(Odd(), "meta")
    assert defines(Odd(), "meta", "completed")


def test_any_class_may_be_a_strategy_by_what_it_defines_or_inherits():
    class Own:
        def meta(self, job_id):
            return {}

    class Heir(Own):
        completed = None

    assert defines(Own(), "meta")
    assert defines(Heir(), "job_started", "meta")
    assert not defines(Heir(), "completed")


@pytest.mark.parametrize("name", strategies.HOOKS)
def test_every_hook_of_the_silent_strategy_may_be_called(name):
    assert getattr(TrackingStrategy(), name)("j", *(["error"] if name == "job_failed" else [])) is None


def test_by_default_a_strategy_lets_anybody_cancel_a_job_without_an_owner():
    assert TrackingStrategy().allows_cancel(object(), Job(job_id="j"))


# Called from a task


class Counting(TrackingStrategy):
    kind = "counting"

    def add(self, job_id, *, by=1):
        return f"{job_id}+{by}"

    def meta(self, job_id):
        return {}

    def fail(self):
        raise RuntimeError


@pytest.fixture
def told():
    return []


@pytest.fixture
def calling(told):
    return Calling(Counting(), after=lambda: told.append(1))


def test_after_every_method_called_through_it_its_meta_is_told(calling, told):
    assert calling.add("j", by=2) == "j+2"
    assert told == [1]


def test_reading_it_tells_nothing(calling, told):
    assert (calling.kind, calling.meta("j")) == ("counting", {})
    assert not told


def test_a_method_that_raises_raises_in_the_task(calling, told):
    with pytest.raises(RuntimeError):
        calling.fail()
    assert not told


def test_what_the_strategy_lacks_is_an_attribute_error(calling):
    with pytest.raises(AttributeError, match="nothing"):
        calling.nothing()


async def test_a_coroutine_is_told_of_when_it_has_run(told):
    class Async(TrackingStrategy):
        async def add(self):
            assert not told
            return 5

    assert await Calling(Async(), after=lambda: told.append(1)).add() == 5
    assert told == [1]


def test_it_says_what_it_stands_for(calling):
    assert "Counting" in repr(calling)


def test_it_can_be_copied_without_going_round_in_circles(calling):
    assert copy.copy(calling).kind == "counting"
    with pytest.raises(Exception, match=r"pickle|local"):
        pickle.dumps(calling)
