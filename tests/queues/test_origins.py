"""What a sender knows of a job, before any queue has it."""

from __future__ import annotations

import pytest

from immortus_channels.jobs.events import Origin
from immortus_channels.jobs.owner import starting_as
from immortus_channels.queues.origins import MAX_BYTES, origin_here, params_of
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
