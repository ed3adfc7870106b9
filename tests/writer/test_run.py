from __future__ import annotations

import contextlib
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.exceptions import DocumentTooLarge, InvalidValue, JobCancelled, ReservedMetaKey
from immortus_channels.jobs.events import Origin
from immortus_channels.jobs.job import LARGEST, Job, State
from immortus_channels.writer import report_of, values
from immortus_channels.writer.run import Run


class Notes(list):
    """Is told of changes, and takes no report."""

    def __call__(self, run):
        self.append(run)


@pytest.fixture
def told():
    return Notes()


@pytest.fixture
def run(told):
    return Run(job_id="j", job_class="c", run_id="r", notify=told)


@pytest.fixture
def in_production(monkeypatch):
    monkeypatch.setattr(values, "is_strict", lambda: False)


def report(run):
    return run.take()[0]


# Whose it is


def test_the_owner_is_the_records_whatever_the_message_said(told):
    run = Run(job_id="j", job_class="c", run_id="r", origin=Origin(send_id="s2", owner="8"), notify=told)
    run.started(Job(job_id="j", run_id="r", send_id="s1", owner="7"))
    assert (run.origin.owner, run.origin.send_id) == ("7", "s1")


def test_a_run_whose_message_said_nothing_learns_it_from_the_record(told):
    run = Run(job_id="j", job_class="c", run_id="r", notify=told)
    run.started(None)
    run.learn(Job(job_id="j", run_id="r", staff_only=True))
    assert (run.origin.owner, run.origin.staff_only) == (None, True)
    run.learn(Job(job_id="j", run_id="r", owner="7"))
    assert (run.origin.owner, run.origin.staff_only) == ("7", False)


def test_a_run_of_a_job_that_is_not_on_record_yet_goes_by_its_message(told):
    run = Run(job_id="j", job_class="c", run_id="r", origin=Origin(send_id="s1", owner="7"), notify=told)
    run.started(None)
    assert run.origin == Origin(send_id="s1", owner="7")


# Loops


def test_track_yields_every_item_and_counts_it_when_the_next_is_asked_for(run):
    seen = [(item, run._current) for item in run.track("abc", message="Spelling")]
    assert seen == [("a", 0), ("b", 1), ("c", 2)]
    said = report(run)
    assert (said.step, said.current, said.total, said.message) == (1, 3, 3, "Spelling")


@pytest.mark.case(35)
def test_the_total_of_a_stream_is_unknown_unless_given(run):
    list(run.track(iter("abc")))
    assert report(run).total is None
    list(run.track(iter("abc"), total=3))
    assert report(run).total == 3


def test_tracking_nothing_begins_a_step_all_the_same(run):
    assert list(run.track([])) == []
    said = report(run)
    assert (said.step, said.current, said.total) == (1, 0, 0)


def test_only_the_outermost_loop_counts(run):
    for _ in run.track(range(2)):
        for _ in run.track(range(50), message="inner"):
            pass
    said = report(run)
    assert (said.step, said.current, said.total, said.message) == (1, 2, 2, "inner")


def test_each_outermost_loop_is_a_step_and_a_message_stays_until_the_next(run):
    list(run.track("ab", message="First"))
    list(run.track("abc"))
    said = report(run)
    assert (said.step, said.current, said.total, said.message) == (2, 3, 3, "First")


def test_a_loop_left_early_does_not_count_the_item_it_broke_at_and_ends(run):
    for item in run.track(range(10)):
        if item == 3:
            break
    assert not run.is_counting
    assert report(run).current == 3
    list(run.track("ab"))
    assert report(run).total == 2


def test_an_error_in_a_loop_ends_it(run):
    def broken():
        for item in run.track(range(10)):
            if item == 3:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert not run.is_counting


def test_a_loop_counts_only_while_it_runs(run):
    loop = run.track("ab")
    assert not run.is_counting
    next(loop)
    assert run.is_counting
    loop.close()
    assert not run.is_counting


def test_cancellation_is_raised_between_two_items_and_before_the_first(run):
    done = []

    def cancelled_at_3():
        for item in run.track(range(10)):
            done.append(item)
            run.cancel_requested = run.must_look = item == 3

    with pytest.raises(JobCancelled):
        cancelled_at_3()
    assert done == [0, 1, 2, 3]
    with pytest.raises(JobCancelled):
        next(run.track("ab"))


def test_cancellation_is_raised_in_an_inner_loop_too(run):
    def cancelled_inside():
        for _ in run.track(range(10)):
            for inner in run.track(range(10)):
                run.cancel_requested = run.must_look = inner == 2

    with pytest.raises(JobCancelled):
        cancelled_inside()
    assert report(run).current == 0


def test_a_loop_whose_last_item_is_done_is_not_cancelled(run):
    for item in run.track(range(3)):
        run.cancel_requested = run.must_look = item == 2
    assert report(run).current == 3


def test_a_checkpoint_raises_only_once_asked(run):
    run.checkpoint()
    run.cancel_requested = run.must_look = True
    with pytest.raises(JobCancelled):
        run.checkpoint()


@pytest.mark.case(34)
@pytest.mark.parametrize("total", [float("nan"), -1, "10", True])
@pytest.mark.usefixtures("in_production")
def test_a_total_that_cannot_be_shown_is_unknown(run, total, caplog):
    assert list(run.track("abc", total=total)) == ["a", "b", "c"]
    assert report(run).total is None
    assert len(caplog.records) == 1


class Loader:
    """Yields what it has, and has no idea how much that is."""

    def __init__(self, error):
        self.error = error

    def __iter__(self):
        return iter("abc")

    def __len__(self):
        raise self.error


@pytest.mark.parametrize(
    "error", [TypeError(), NotImplementedError(), RuntimeError("x"), OSError(), ValueError()], ids=repr
)
def test_a_total_that_cannot_be_asked_for_is_unknown(run, error, caplog):
    assert list(run.track(Loader(error))) == ["a", "b", "c"]
    assert (report(run).current, report(run).total) == (3, None)
    assert not caplog.records


@pytest.mark.parametrize("items", [range(10**20), range(2**53)])
def test_a_total_that_does_not_fit_is_unknown(run, items):
    assert list(zip(run.track(items), "ab", strict=False)) == [(0, "a"), (1, "b")]
    assert report(run).total is None


def test_the_objects_of_a_job_may_raise_whatever_they_are_asked(run, caplog, in_production):
    class Moody:
        def refuse(self, *_):
            raise LookupError

        __str__ = __repr__ = __float__ = __index__ = __len__ = __bool__ = __eq__ = __lt__ = __gt__ = refuse

    class Meta(dict):
        items = Moody.refuse

    run.update(message=Moody())
    for name in ("current", "total", "advance", "percentage"):
        run.update(**{name: Moody()})
    list(run.track("ab", total=Moody(), message=Moody()))
    run.set_meta({"a": Moody(), "b": Meta(c=1), "d": 1})
    run.set_result(Meta(c=1))
    said = report(run)
    assert (said.current, said.total, said.message, said.meta, said.result) == (2, None, None, {"d": 1}, None)
    assert caplog.records


# Updates


@pytest.mark.case(34)
def test_within_a_step_current_does_not_move_back(run):
    for current in (3, 1, 2):
        run.update(current=current)
    assert report(run).current == 3


def test_a_total_begins_a_step_in_which_current_starts_again(run):
    run.update(current=5, total=10, percentage=40)
    run.update(total=3)
    said = report(run)
    assert (said.step, said.current, said.total, said.percentage) == (2, 0, 3, None)


@pytest.mark.case(34)
def test_everything_can_be_said_at_once(run):
    run.update(current=1, total=10, advance=2, percentage=33.3, message="Go")
    said = report(run)
    assert (said.step, said.current, said.total, said.percentage, said.message) == (1, 3, 10, 33.3, "Go")


@given(st.lists(st.tuples(st.sampled_from(["current", "advance"]), st.integers(0, 50))))
def test_whatever_is_said_in_a_step_current_never_falls(changes):
    run, before = Run(job_id="j", job_class="c", run_id="r"), 0
    for name, value in changes:
        run.update(**{name: value})
        assert run._current >= before
        before = run._current


@pytest.mark.case(34)
@pytest.mark.parametrize("name", ["current", "total", "advance", "percentage"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "7", True, 10**400])
def test_a_number_that_cannot_be_shown_is_refused_and_changes_nothing(run, name, value):
    run.update(current=4, total=10)
    before = report(run)
    with pytest.raises(InvalidValue, match=name):
        run.update(**{name: value})
    assert report(run) == before


@pytest.mark.usefixtures("in_production")
def test_in_production_the_rest_of_an_update_is_kept(run):
    run.update(current=float("nan"), total=10, advance=-5, percentage=float("nan"), message="Go")
    said = report(run)
    assert (said.current, said.total, said.percentage, said.message) == (0, 10, None, "Go")


def test_advance_is_exact_from_several_threads_beside_a_loop(run):
    def advance():
        for _ in range(5_000):
            run.update(advance=1)

    threads = [threading.Thread(target=advance) for _ in range(8)]
    for item in run.track(range(5_000)):
        for thread in threads if item == 0 else ():
            thread.start()
        for thread in threads if item == 4_999 else ():
            thread.join()
    assert report(run).current == 45_000


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"percentage": 40}, (0, None, 40)),
        ({"percentage": 0}, (0, None, 0)),
        ({"current": 2}, (2, None, None)),
        ({"current": 0}, (0, None, None)),
        ({"advance": 1}, (1, None, None)),
        ({"total": 7}, (0, 7, None)),
        ({"total": 3}, (0, 3, None)),
        ({"current": 3, "total": 3}, (3, 3, None)),
        ({"percentage": 40, "message": "Sorting"}, (0, None, 40)),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["finished", "left", "broken"])
def test_after_a_loop_any_number_begins_the_next_step(run, how, given, shown):
    with contextlib.suppress(LookupError):
        for item in run.track("abc", message="Reading"):
            if how == "left" and item == "b":
                break
            if how == "broken" and item == "b":
                raise LookupError
    run.update(**given)
    said = report(run)
    assert (said.step, said.current, said.total, said.percentage) == (2, *shown)
    run.update(advance=1)
    assert report(run).step == 2


@pytest.mark.parametrize(
    "say",
    [
        lambda run: run.update(message="Nearly there"),
        lambda run: run.update(),
        lambda run: run.set_meta({"a": 1}),
        lambda run: run.set_result(1),
        lambda run: run.update(percentage=100, message="Done"),
    ],
)
def test_what_tells_of_nothing_more_leaves_a_full_bar_full(run, say):
    list(run.track("abc"))
    say(run)
    said = report(run)
    assert (said.step, said.current, said.total) == (1, 3, 3)


@pytest.mark.usefixtures("in_production")
def test_a_number_that_is_refused_begins_nothing(run):
    list(run.track("abc"))
    run.update(percentage=400, current=-1, advance=float("nan"), total="7")
    assert (report(run).step, report(run).current) == (1, 3)


def test_within_a_loop_and_after_one_inside_it_numbers_are_of_its_step(run):
    for _ in run.track(range(2)):
        list(run.track(range(5)))
        run.update(advance=1, percentage=40)
    said = report(run)
    assert (said.step, said.current, said.total, said.percentage) == (1, 2, 2, 40)


def test_a_loop_counts_its_items_once_whatever_is_advanced(run, caplog):
    seen = []
    for _ in run.track(range(4)):
        run.update(advance=1, message="Going")
        seen.append(report(run).current)
        for _ in run.track(range(2)):
            run.update(advance=1)
            seen.append(share_of(run)[0])
    assert seen == [n + share for n in range(4) for share in (0, 0, 0.5)]
    assert (report(run).current, report(run).message) == (4, "Going")
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once a run"
    assert "update(advance=…)" in caplog.text


def test_numbers_that_were_begun_in_a_loop_are_advanced(run, caplog):
    for _ in run.track(range(2)):
        run.update(current=0, total=4)
        run.update(advance=3)
        assert share_of(run)[0] % 1 == 0.75
    assert not caplog.records


def test_a_million_updates_tell_the_writer_once_until_it_comes(run, told):
    for current in range(10_000):
        run.update(current=current)
    assert told == [run]
    assert report(run).current == 9_999
    run.update(current=10_000)
    assert told == [run, run]


def test_whatever_is_said_meanwhile_the_writer_is_told_once(run, told):
    run.set_meta({"a": 1})
    run.set_data("b", 2)
    run.set_result(3)
    run.update(total=4)
    assert told == [run]


def test_the_writer_is_told_of_an_update_once_all_of_it_is_known():
    reports = []
    run = Run(job_id="j", job_class="c", run_id="r", notify=lambda run: reports.append(report(run)))
    run.update(current=1, total=4, message="Sawing")
    assert [(one.current, one.total, one.message) for one in reports] == [(1, 4, "Sawing")]


def calls_in(function):
    """How many Python functions are called while `function` runs: its price, on any machine."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


def test_an_item_of_a_loop_and_an_update_cost_one_call_each(run, told):
    items = range(1_000)
    assert calls_in(lambda: [None for _ in run.track(items)]) < 1.1 * len(items)
    assert calls_in(lambda: [run.update(current=i) for i in items]) < 1.1 * len(items)
    assert told == [run]


# Meta, data, result


def test_meta_is_gathered_field_by_field(run):
    run.set_meta({"a": 1, "b": 2})
    run.set_meta({"b": 3})
    assert report(run).meta == {"a": 1, "b": 3}


@pytest.mark.case(36)
def test_reserved_meta_is_refused_where_it_is_set(run, told):
    with pytest.raises(ReservedMetaKey):
        run.set_meta({"state": "x"})
    assert not told


@pytest.mark.case(48)
def test_data_is_read_back_as_json_gives_it(run):
    run.started(Job(job_id="j", run_id="r", state=State.RUNNING, data={"given": 1}))
    run.set_data("pair", (1, 2))
    assert run.data == {"given": 1, "pair": [1, 2]}
    assert report(run).data == {"pair": [1, 2]}


def test_data_that_cannot_be_kept_is_an_error_where_it_is_set(run):
    with pytest.raises(InvalidValue):
        run.set_data("x", object())


def test_data_beyond_the_limit_is_an_error_that_names_key_size_and_limit(run):
    run.params = {"path": "x" * 60_000}
    run.set_data("a", "x" * 60_000)
    with pytest.raises(DocumentTooLarge, match=r"'b' .*1400\d\d bytes.* 131072 "):
        run.set_data("b", "x" * 20_000)
    run.set_data("a", "x" * 40_000)
    run.set_data("b", "x" * 20_000)
    assert {name: len(value) for name, value in report(run).data.items()} == {"a": 40_000, "b": 20_000}


def test_in_production_data_beyond_the_limit_is_dropped_alone(run, in_production, caplog):
    run.set_data("a", 1)
    run.set_data("b", "x" * 200_000)
    run.set_data("c", 2)
    assert report(run).data == {"a": 1, "c": 2}
    assert "'b' would make the job's data and params" in caplog.text


def test_a_large_record_is_written_as_much_less_often(run, settings):
    settings.IMMORTUS_FLUSH_INTERVAL = 100
    for kib, interval in ((1, 100), (15, 100), (32, 200), (128, 800)):
        run.known = "x" * kib * 1024
        report_of(run)
        assert interval - 10 < run.not_before - time.monotonic() <= interval


def test_a_result_is_published_as_json(run):
    run.set_result({"url": "/x"})
    assert report(run).result == {"url": "/x"}


@pytest.mark.usefixtures("in_production")
def test_in_production_a_result_that_cannot_be_published_is_not(run, caplog):
    run.set_result("first")
    run.set_result(object())
    run.set_result("x" * 40_000)
    assert report(run).result == "first"
    assert len(caplog.records) == 2


def test_what_would_exceed_the_limit_is_refused_at_the_call_that_sets_it(run):
    run.set_meta({"a": "x" * 20_000})
    with pytest.raises(DocumentTooLarge, match="'b', 'c'"):
        run.set_meta({"b": "x" * 5_000, "c": 1})
    with pytest.raises(DocumentTooLarge, match="result"):
        run.set_result("x" * 5_000)
    with pytest.raises(DocumentTooLarge, match="message"):
        run.update(message="x" * 5_000)
    with pytest.raises(DocumentTooLarge, match="strategy"):
        run.set_strategy_meta({"s": "x" * 5_000})
    said, strategy_meta = run.take()
    assert (said.meta, said.result, said.message, strategy_meta) == ({"a": "x" * 20_000}, None, None, None)


def test_what_was_said_before_this_run_takes_its_room_as_well(run):
    run.know(Job(job_id="j", meta={"a": "x" * 20_000}))
    with pytest.raises(DocumentTooLarge, match="'b'"):
        run.set_meta({"b": "x" * 5_000})
    run.set_result({"url": "/x"})
    run.set_meta({"a": "x" * 10_000})
    run.set_meta({"b": "x" * 5_000})


def test_the_lock_is_free_after_a_refusal(run):
    with pytest.raises(DocumentTooLarge):
        run.set_meta({"a": "x" * 40_000})
    run.set_meta({"a": 1})
    assert report(run).meta == {"a": 1}


def test_the_same_strategy_meta_again_is_no_news(run, told):
    run.set_strategy_meta({"p": 1})
    run.take()
    run.set_strategy_meta({"p": 1})
    assert not run.is_dirty
    run.set_strategy_meta({})
    assert run.take()[1] == {}
    assert len(told) == 2


# Reports


def test_a_report_carries_everything_said_so_far(run):
    run.update(current=1, total=2, message="Go")
    run.set_meta({"a": 1})
    run.set_data("d", 1)
    run.set_result(5)
    run.take()
    assert not run.is_dirty
    assert run.take()[0] == run.take()[0]
    assert report(run).meta == {"a": 1}


def test_a_report_does_not_change_afterwards(run):
    run.set_meta({"a": 1})
    said = report(run)
    run.set_meta({"a": 2})
    assert said.meta == {"a": 1}


def test_a_run_is_dirty_while_its_loop_counts(run):
    loop = run.track(range(3))
    next(loop)
    run.take()
    assert not run.is_dirty
    next(loop)
    assert run.is_dirty


def test_a_report_that_was_not_written_is_still_to_be_told(run):
    run.update(current=1)
    run.take()
    run.untake()
    assert run.is_dirty


def test_the_next_report_is_due_after_an_interval_or_at_once(run, settings):
    settings.IMMORTUS_FLUSH_INTERVAL = 1000
    assert run.not_before <= time.monotonic(), "the first one is due at once"
    report_of(run)
    assert 900 < run.not_before - time.monotonic() <= 1000
    run.untake(at_once=True)
    assert run.not_before <= time.monotonic()


# The start


def test_a_run_knows_what_the_store_says_of_it(run):
    job = Job(job_id="j", run_id="r", state=State.RUNNING, attempt=3, params={"p": 1}, cancel_requested=True)
    run.started(job)
    assert (run.refused, run.attempt, run.params, run.cancel_requested) == (False, 3, {"p": 1}, True)


def test_a_run_the_store_said_nothing_of_goes_on_with_what_its_sender_told():
    run = Run(job_id="j", job_class="c", run_id="r", origin=Origin(params={"p": 1}, data={"d": 2}))
    run.started(None)
    assert (run.refused, run.attempt, run.params, run.data) == (False, 1, {"p": 1}, {"d": 2})


@pytest.mark.parametrize(
    "job",
    [
        Job(job_id="j", state=State.CANCELLED),
        Job(job_id="j", state=State.RUNNING, run_id="newer"),
        Job(job_id="j", state=State.FINISHED, run_id="r"),
    ],
)
def test_a_run_of_a_job_that_is_over_or_of_another_run_is_refused(run, job):
    run.started(job)
    assert run.refused


def test_a_forked_run_is_left_to_its_parent_and_its_lock_is_free(run, told):
    thread = threading.Thread(target=run._lock.acquire)
    thread.start()
    thread.join()
    run.after_fork()
    assert run._lock.acquire(timeout=1)
    assert run.is_forked


# Steps inside of others


def share_of(run):
    """How far the bar is, in items of the run's own step, and that step."""
    said = report(run)
    return said.current + said.within, said.total, said.step


def test_a_loop_in_a_counted_step_moves_the_bar_within_its_item(run):
    run.update(current=3, total=50)
    seen = [share_of(run) for _ in run.track(range(4), message="Reading")]
    assert seen == [(3, 50, 1), (3.25, 50, 1), (3.5, 50, 1), (3.75, 50, 1)]
    assert share_of(run) == (4, 50, 1)
    assert report(run).message == "Reading"
    run.update(current=4, total=50)
    assert share_of(run) == (4, 50, 1)


def test_numbers_of_a_function_in_a_loop_move_the_bar_within_its_item(run):
    seen = []
    for _ in run.track(range(2)):
        for number in range(1, 5):
            run.update(current=number, total=4)
            seen.append(share_of(run))
    assert seen == [(n / 4, 2, 1) for n in range(1, 9)]
    assert share_of(run) == (2, 2, 1)


def test_steps_nest_as_deep_as_their_calls(run):
    seen = []
    run.update(current=0, total=2)
    for _ in run.track(range(2)):
        for _ in run.track(range(2)):
            run.update(advance=1, total=2)
            run.update(percentage=50)
            seen.append(share_of(run)[0])
    assert seen == sorted(seen)
    assert all(share <= 1 for share in seen)
    assert share_of(run) == (1, 2, 1)


@pytest.mark.parametrize("before", [{}, {"total": 50}, {"percentage": 40}, {"current": 50, "total": 50}], ids=str)
def test_where_nothing_is_being_counted_a_loop_is_the_next_step(run, before):
    run.update(**before)
    list(run.track(range(4)))
    assert share_of(run)[:2] == (4, 4)


def test_an_item_that_is_done_again_does_not_move_the_bar_back(run):
    run.update(current=3, total=50)
    list(run.track(range(4)))
    list(zip(run.track(range(4)), range(2), strict=False))
    assert share_of(run) == (4, 50, 1)


def test_an_inner_loop_that_raises_leaves_the_outer_one_its_count(run):
    for item in run.track(range(3)):
        with contextlib.suppress(LookupError):
            for _ in run.track(range(4)):
                run.update(current=1, total=2)
                if item == 1:
                    raise LookupError
        run.update(advance=0)
    assert share_of(run) == (3, 3, 1)
    assert not run.is_counting


def test_threads_count_within_the_item_that_the_others_wait_for(run):
    def inside():
        for _ in run.track(range(100)):
            run.update(advance=0)

    for item in run.track(range(3)):
        threads = [threading.Thread(target=inside) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert item <= share_of(run)[0] <= item + 1
        for thread in threads:
            thread.join()
    assert share_of(run) == (3, 3, 1)


def test_the_outer_count_goes_on_beside_a_loop_of_another_thread(run):
    run.update(current=0, total=10)
    loop = run.track(range(4))
    threading.Thread(target=lambda: next(loop)).start()
    run.update(advance=1)
    run.update(current=2, total=10)
    assert share_of(run)[1:] == (10, 1)
    assert 2 <= share_of(run)[0] <= 3


def test_a_loop_counts_silently_and_is_reported_all_the_same(run):
    run.update(current=3, total=50)
    loop = run.track(range(4))
    next(loop)
    run.take()
    assert not run.is_dirty
    next(loop)
    assert run.is_dirty
    assert run.is_counting


def test_the_same_total_again_goes_on_with_the_step():
    run = Run(job_id="a", job_class="t", run_id="r")
    for current in range(1, 4):
        run.update(current=current, total=10)
    report, _ = run.take()
    assert (report.step, report.current, report.total) == (1, 3, 10)
    run.update(current=0, total=10)
    assert run.take()[0].step == 2


class Nameless(str):
    """A key that cannot be written."""

    __slots__ = ()

    def __str__(self):
        raise LookupError


def test_a_name_that_cannot_be_written_is_refused_where_developers_see_it(run):
    with pytest.raises(InvalidValue, match="cannot be written as text"):
        run.set_meta({Nameless("a"): 1})
    with pytest.raises(InvalidValue, match="cannot be written as text"):
        run.set_data(Nameless("a"), 1)


def test_a_name_that_cannot_be_written_costs_its_own_field_alone(run, in_production, caplog):
    run.set_meta({Nameless("a"): 1, "b": 2})
    assert report(run).meta == {"b": 2}
    assert "cannot be written as text" in caplog.text


@pytest.mark.parametrize("advance", [LARGEST, 0.5 + LARGEST / 2])
def test_a_sum_of_many_never_goes_beyond_what_browsers_can_hold(run, advance):
    run.update(total=10)
    for _ in range(3):
        run.update(advance=advance)
    assert report(run).current == LARGEST
