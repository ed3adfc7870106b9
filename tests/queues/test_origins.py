"""What a sender knows of a job, before any queue has it."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import UUIDField

from immortus_channels.jobs.events import Origin
from immortus_channels.jobs.owner import starting_as
from immortus_channels.queues.origins import MAX_BYTES, origin_here, params_of, with_owner_in
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer.run import Run, current_run


def resize(width, height=50, *, secret="", **_):
    """Has arguments by place and by name."""


@pytest.fixture
def running():
    """The context of a job of the user 7."""
    token = current_run.set(Run(job_id="j", job_class="c", run_id="r", origin=Origin(owner="7")))
    yield
    current_run.reset(token)


def test_a_sender_names_queue_mark_and_owner():
    with starting_as(lambda: "7"):
        origin = origin_here("toy", TaskOptions(cancel="never", handler="album"), eta=5)
    assert (origin.queue, origin.cancel, origin.handler, origin.eta) == ("toy", "never", "album", 5)
    assert (origin.owner, origin.staff_only) == ("7", False)


def test_each_sending_has_an_id_of_its_own():
    assert origin_here("toy", None).send_id != origin_here("toy", None).send_id


def test_a_job_that_a_job_sends_is_its_owner_s(running):
    assert origin_here("toy", None).owner == "7"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (False, None),
        (True, {"width": 3, "height": 50, "secret": "********", "more": 1}),
        (("width",), {"width": 3}),
    ],
)
def test_arguments_are_recorded_by_the_function_s_names(wanted, expected):
    options = TaskOptions(params=wanted, mask=("secret",))
    assert params_of(options, "resize", resize, (3,), {"secret": "x", "more": 1}) == expected


def test_without_the_function_arguments_by_keyword_are_recorded():
    assert params_of(TaskOptions(params=True), "resize", None, (3,), {"height": 4}) == {"height": 4}


def test_an_argument_that_json_cannot_hold_is_recorded_as_its_type():
    assert params_of(TaskOptions(params=True), "resize", None, (), {"a": object()}) == {"a": "<object>"}


def test_the_largest_arguments_are_recorded_as_types_where_need_be(caplog):
    given = {"long": "x" * MAX_BYTES, "short": "y"}
    assert params_of(TaskOptions(params=True), "resize", None, (), given) == {"long": "<str>", "short": "y"}
    assert "their types alone are recorded: long" in caplog.text


# The owner in the arguments


def report(user_id=None, *, title=""):
    """Is for a user."""


def owner_of(origin, *args, function=report, **kwargs):
    """The owner of a job of this origin that is called so, and whether it is for staff only."""
    origin = with_owner_in(origin, TaskOptions(owner="user_id"), "report", function=function, args=args, kwargs=kwargs)
    return origin.owner, origin.staff_only


def inside(**origin):
    """The context of a job of this origin; without any, nobody knows who sent it."""
    return current_run.set(Run(job_id="j", job_class="c", run_id="r", origin=Origin(**origin) if origin else None))


@pytest.fixture
def outside():
    """The context of no job, afterwards too."""
    token = current_run.set(None)
    yield
    current_run.reset(token)


OWN_ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("args", "kwargs", "owner"),
    [
        ((7,), {}, "7"),
        ((), {"user_id": "7", "title": "x"}, "7"),
        ((), {"user_id": " 05"}, "5"),
        (("auth.group:05",), {}, "auth.group:5"),
        ((User(pk=7),), {}, "7"),
        ((None,), {}, None),
        ((), {}, None),
    ],
)
def test_an_argument_tells_the_owner_where_nothing_else_does(args, kwargs, owner):
    assert owner_of(Origin(), *args, **kwargs) == (owner, False)


def test_without_the_function_the_argument_counts_by_its_name_alone():
    assert owner_of(Origin(), 7, function=None) == (None, False)
    assert owner_of(Origin(), function=None, user_id=7) == ("7", False)


def test_an_owner_in_the_arguments_is_one_of_the_namespace():
    assert owner_of(Origin(namespace="shop"), 7) == ("shop\x1f7", False)


@pytest.mark.parametrize("starter", ["8", None])
def test_a_request_s_word_on_the_owner_goes_before_the_argument(starter):
    with starting_as(lambda: starter):
        assert owner_of(origin_here("toy", None), 7) == (starter, False)


def test_a_job_s_owner_goes_before_the_argument_in_what_it_starts(outside):
    inside(owner="8")
    assert owner_of(origin_here("toy", None), 7) == ("8", False)


def test_what_the_job_of_a_deleted_user_starts_is_nobody_s(outside):
    inside(owner="")
    assert owner_of(origin_here("toy", None), 7) == ("", False)


@pytest.mark.parametrize("origin", [{"send_id": "s", "staff_only": True}, {"send_id": "s"}, {"queue": "toy"}], ids=repr)
def test_the_argument_counts_in_a_job_that_no_user_started(outside, origin):
    inside(**origin)
    assert owner_of(origin_here("toy", None), 7) == ("7", False)


@pytest.mark.parametrize("origin", [{}, {"staff_only": True}], ids=repr)
def test_the_argument_does_not_count_where_a_user_may_be_behind(outside, origin):
    inside(**origin)
    assert owner_of(origin_here("toy", None), 7) == (None, True)


@pytest.mark.parametrize("pk", [OWN_ID, str(OWN_ID), OWN_ID.hex])
def test_a_primary_key_is_written_as_its_users_have_it(monkeypatch, pk):
    monkeypatch.setattr(User._meta, "pk", UUIDField())
    assert owner_of(Origin(), pk) == (str(OWN_ID), False)


@pytest.mark.parametrize("value", ["", "ann", OWN_ID, True, 7.0, ["7"], "a\0b", "x" * 256, AnonymousUser()], ids=type)
def test_what_is_not_an_id_leaves_the_job_to_staff_and_is_logged(value, caplog):
    assert owner_of(Origin(), value) == (None, True)
    assert f"'user_id' of report should be a user's primary key; this {type(value).__name__} is none" in caplog.text


def test_a_task_without_the_option_has_no_owner_in_its_arguments():
    call = {"function": report, "args": (7,), "kwargs": {}}
    assert with_owner_in(Origin(), TaskOptions(params=True), "report", **call) == Origin()
