from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import _TestState

from immortus_channels import metrics, writer
from immortus_channels.jobs.events import (
    Cancelled,
    CancelRequested,
    Enqueued,
    Failed,
    Finished,
    Origin,
    Overdue,
    Report,
    Requeued,
    Retrying,
    Started,
    Updated,
)
from immortus_channels.jobs.job import State
from immortus_channels.jobs.lifecycle import SECOND, apply
from immortus_channels.push import receivers
from immortus_channels.stores import get_store
from immortus_channels.writer import WAIT, get_writer, report_of, thread
from immortus_channels.writer.backlog import Backlog
from immortus_channels.writer.inline import InlineWriter
from immortus_channels.writer.run import Run, current_run
from immortus_channels.writer.thread import Writer
from tests.toys import FlakyStore, eventually

forks = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture
def store(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}
    store = get_store()
    assert isinstance(store, FlakyStore)
    return store


@pytest.fixture
def threaded():
    """A writer with its thread."""
    it = Writer()
    yield it
    it.stop(1)
    assert eventually(lambda: it._thread is None)


@pytest.fixture
def pushed():
    """What was pushed, as (event, job id)."""

    class Receiver(list):
        def receive(self, push):
            self.append((push.event, push.job_id))

    receiver = Receiver()
    receivers.add(receiver)
    yield receiver
    receivers.remove(receiver)


def record(job_id="j"):
    """The job on record, read also while the store pretends to be down."""
    store = get_store()
    read = super(FlakyStore, store).get_many if isinstance(store, FlakyStore) else store.get_many
    return read([job_id]).jobs.get(job_id)


def enqueued(job_id="j"):
    return Enqueued(job_id=job_id, job_class="c", origin=Origin(send_id="s"))


def started(job_id="j", run_id="r"):
    return Started(job_id=job_id, job_class="c", run_id=run_id)


def finished(job_id="j", run_id="r"):
    return Finished(job_id=job_id, job_class="c", run_id=run_id)


def unfit(job_id="j"):
    """An event that no store can write."""
    return Updated(job_id=job_id, meta={"x": object()})


UNFIT = Report(meta={"x": object()})
ENDS = [
    (Failed(job_id="j", run_id="r", code=object()), State.FAILED),
    (Finished(job_id="j", run_id="r", report=UNFIT), State.FINISHED),
    (Finished(job_id="j", run_id="r", report=UNFIT, completed=False), State.RUNNING),
    (Cancelled(job_id="j", run_id="r", report=UNFIT), State.CANCELLED),
    (Retrying(job_id="j", run_id="r", report=UNFIT), State.RETRYING),
    (Requeued(job_id="j", run_id="r", report=UNFIT), State.ENQUEUED),
]


def running(threaded, job_id="j", run_id="r"):
    run = Run(job_id=job_id, job_class="c", run_id=run_id, notify=threaded.notify, listen=threaded.listen)
    assert threaded.submit(started(job_id, run_id)).is_known
    threaded.attach(run)
    return run


def age_lease(store, seconds=-1):
    """Make the lease of the job end so many seconds from now."""
    store.renew({"j": record().lease_holder}, seconds)


def cpu_seconds(during):
    before = time.process_time()
    time.sleep(during)
    return time.process_time() - before


# Events


def test_an_event_is_written_pushed_and_answered(store, threaded, pushed):
    write = threaded.submit(enqueued())
    assert write.is_known
    assert (write.before, write.after) == (None, record())
    assert write.changed
    assert eventually(lambda: pushed == [("job_enqueued", "j")])


def test_what_changes_nothing_is_not_pushed(store, threaded, pushed):
    threaded.submit(enqueued())
    assert not threaded.submit(enqueued()).changed
    threaded.submit(enqueued("other"))
    assert eventually(lambda: len(pushed) == 2)
    assert pushed == [("job_enqueued", "j"), ("job_enqueued", "other")]


def test_a_dry_write_tells_what_would_change_and_changes_nothing(store, threaded, pushed):
    write = threaded.submit(enqueued(), is_dry=True)
    assert write.is_known
    assert write.changed
    assert write.after.state is State.ENQUEUED
    assert record() is None
    threaded.submit(enqueued("other"))
    assert eventually(lambda: pushed)
    assert pushed == [("job_enqueued", "other")], "the dry one came first, and was not pushed"


@pytest.mark.case(8)
def test_events_keep_their_order_while_the_store_fails(store, threaded, pushed):
    store.failures = 4
    for event in (enqueued(), started(), Updated(job_id="j", current=5), finished()):
        threaded.submit(event, wait=0)
    assert eventually(lambda: len(pushed) == 4)
    assert [event for event, _ in pushed] == ["job_enqueued", "job_started", "meta", "job_finished"]
    assert (record().state, record().current, record().attempt) == (State.FINISHED, 5, 1)


def test_what_waits_and_is_tried_again_is_counted(store, threaded):
    retries, dropped = metrics.STORE_RETRIES.read(), metrics.WRITES_DROPPED.read()
    store.failures = 3
    for n in range(5):
        threaded.submit(enqueued(f"j{n}"), wait=0)
    assert metrics.WRITES_WAITING.read() == 5
    assert eventually(lambda: metrics.WRITES_WAITING.read() == 0)
    assert metrics.STORE_RETRIES.read() == retries + 3
    threaded.submit(started())
    threaded.submit(unfit())
    assert metrics.WRITES_DROPPED.read() == dropped + 1


def test_trouble_with_the_store_is_logged_once_and_its_end_too(store, threaded, caplog):
    store.failures = 4
    threaded.submit(enqueued(), wait=3)
    assert eventually(lambda: len(caplog.records) == 2)
    assert "Changes are kept" in caplog.messages[0]
    assert "works again" in caplog.messages[1]


def test_a_caller_waits_half_a_second_at_most_and_nobody_after_it(store, threaded):
    store.open.clear()
    began = time.monotonic()
    assert not threaded.submit(enqueued()).is_known
    first = time.monotonic() - began
    threaded.submit(started())
    second = time.monotonic() - began - first
    store.open.set()
    assert 0.4 < first < WAIT + 0.3
    assert second < 0.3
    assert eventually(lambda: record() is not None and record().state is State.RUNNING)


def test_nobody_waits_for_a_store_that_is_known_to_be_down(store, threaded):
    store.failures = 3
    threaded.submit(enqueued(), wait=0)
    assert eventually(lambda: threaded.is_behind)
    began = time.monotonic()
    write = threaded.submit(started(), wait=5)
    dry = threaded.submit(finished(), wait=5, is_dry=True)
    assert time.monotonic() - began < 0.1
    assert dry.done.is_set()
    assert not dry.is_known
    assert write.done.wait(5)
    assert record().state is State.RUNNING


def test_an_unfit_event_is_dropped_with_one_log_line_that_tells_no_secrets(store, threaded, caplog):
    broken, good = threaded.submit(unfit(), wait=1), threaded.submit(enqueued("good"))
    assert not broken.done.is_set() or broken.is_known  # the job is unknown: nothing to write
    threaded.submit(enqueued())
    broken = threaded.submit(unfit())
    assert (broken.done.is_set(), broken.is_known, good.is_known) == (True, False, True)
    assert threaded.submit(started()).is_known
    assert [r.getMessage() for r in caplog.records] == ["Updated of 'j' could not be applied and is dropped"]


@pytest.mark.parametrize(("end", "state"), ENDS)
def test_the_end_of_a_run_is_told_without_words_that_cannot_be_applied(store, threaded, end, state):
    threaded.submit(started())
    write = threaded.submit(end)
    assert write.is_known
    assert write.after == record()
    assert (record().state, record().lease_holder == "r") == (state, False)
    assert record().error is None or record().error.code in ("error", "cancelled")


def test_an_end_without_its_words_outlives_an_outage(store, threaded, caplog):
    threaded.submit(started())
    store.failures = 1
    write = threaded.submit(ENDS[0][0])
    assert write.done.wait(5)
    assert record().state is State.FAILED
    assert sum("without its content" in line.getMessage() for line in caplog.records) == 1


def test_an_end_without_its_words_keeps_its_flags_and_its_queue():
    about = {"job_id": "j", "job_class": "c", "run_id": "r", "queue": "q"}
    for kind, flags in ((Retrying, {"is_sent": False}), (Cancelled, {"unstarted": True}), (Failed, {"by_hand": True})):
        event = kind(**about, **flags, strategy_meta={"x": object()})
        assert writer.write._bare(event) == kind(**about, **flags)


def test_what_waits_is_bounded_and_the_oldest_is_lost_with_one_log_line(store, threaded, monkeypatch, caplog):
    monkeypatch.setattr(Backlog, "MOST", 3)
    store.failures = 10**6
    writes = [threaded.submit(enqueued("0"), wait=0)]
    assert eventually(lambda: threaded.is_behind)
    writes += [threaded.submit(enqueued(str(n)), wait=0) for n in range(1, 6)]
    assert [write.done.is_set() for write in writes] == [True] * 3 + [False] * 3
    assert sum("oldest" in message for message in caplog.messages) == 1
    store.failures = 0
    assert eventually(lambda: record("5") is not None)
    assert [record(str(n)) is not None for n in range(6)] == [False] * 3 + [True] * 3


def test_a_document_that_would_be_too_large_is_written_without_what_is_new(store, threaded, caplog):
    threaded.submit(enqueued())
    write = threaded.submit(Updated(job_id="j", current=3, meta={"x": "y" * 40_000}))
    assert (write.after.current, write.after.meta) == (3, {})
    assert len(caplog.records) == 1


# The thread


def test_the_thread_ends_when_idle_and_comes_back(store, threaded, monkeypatch):
    monkeypatch.setattr(thread, "_IDLE", 0.05)
    threaded.submit(enqueued())
    assert eventually(lambda: threaded._thread is None)
    assert threaded.submit(started()).is_known


def test_the_thread_does_not_end_while_a_run_is_attached(store, threaded, monkeypatch):
    monkeypatch.setattr(thread, "_IDLE", 0.05)
    run = running(threaded)
    time.sleep(0.3)
    assert threaded._thread is not None
    threaded.detach(run)
    threaded.submit(finished())
    assert eventually(lambda: threaded._thread is None)


def test_stopping_writes_what_is_left_and_the_next_event_starts_again(store, threaded):
    run = running(threaded)
    run.update(current=1)
    run.update(current=2)
    for n in range(200):
        threaded.submit(enqueued(str(n)), wait=0)
    threaded.stop()
    assert threaded._thread is None
    assert record("199") is not None
    assert record().current == 2
    assert threaded.submit(finished()).is_known


def test_stopping_gives_up_in_time_keeps_what_is_left_and_does_not_spin(store, threaded):
    store.failures = 10**6
    threaded.submit(enqueued(), wait=0)
    began, cpu = time.monotonic(), time.process_time()
    threaded.stop(0.6)
    assert time.monotonic() - began < 1.0
    assert time.process_time() - cpu < 0.2
    assert threaded._thread is None
    calls = len(store.calls)
    time.sleep(0.2)
    assert len(store.calls) == calls
    store.failures = 0
    threaded.resume()
    assert eventually(lambda: record() is not None)


def test_stopping_what_never_ran_is_nothing():
    Writer().stop()


def test_a_thread_that_cannot_start_does_not_break_the_caller(store, threaded, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
        write = threaded.submit(enqueued(), wait=0)
        assert "cannot start" in caplog.text
    threaded.submit(enqueued("other"))
    assert write.done.wait(1)


def test_the_thread_does_not_spin_while_a_run_is_idle(store, threaded):
    running(threaded)
    time.sleep(0.1)
    calls = len(store.calls)
    assert cpu_seconds(0.5) < 0.1
    assert len(store.calls) == calls


def test_the_thread_does_not_spin_while_a_loop_stands_still(store, threaded):
    loop = running(threaded).track(range(5))
    next(loop)
    assert eventually(lambda: record().total == 5)
    calls = len(store.calls)
    assert cpu_seconds(0.5) < 0.1
    assert len(store.calls) == calls


def test_the_thread_does_not_spin_while_the_store_is_down(store, threaded):
    run = running(threaded)
    store.failures = 10**6
    run.update(current=1)
    threaded.submit(Updated(job_id="j", current=9), wait=0)
    threaded.renew("other", "s", 5)
    time.sleep(0.1)
    calls = len(store.calls)
    assert cpu_seconds(0.7) < 0.15
    assert len(store.calls) - calls < 10


# One record that is refused


def test_a_refused_record_holds_up_no_other_and_is_written_later_in_order(store, threaded, pushed, caplog):
    store.refused = {"locked"}
    for event in (enqueued("locked"), started("locked"), finished("locked")):
        threaded.submit(event, wait=0)
    first = threaded.submit(enqueued("j"))
    assert eventually(lambda: first.is_known and not threaded.is_behind), "by then it is plain that others can be"
    for n in range(20):
        assert threaded.submit(enqueued(f"j{n}")).is_known
    assert eventually(lambda: "'locked' cannot be written" in caplog.text)
    assert threaded.submit(started("j0")).is_known, "others are waited for as ever"
    assert threaded.held(["locked"])
    store.refused.clear()
    assert eventually(lambda: not threaded.held(["locked"]), 3)
    assert [event for event, job_id in pushed if job_id == "locked"] == ["job_enqueued", "job_started", "job_finished"]
    assert sum("cannot be written" in line.getMessage() for line in caplog.records) == 1


def test_two_records_that_are_refused_hold_up_no_other(store, threaded):
    store.refused = {"a", "b"}
    for job_id in ("a", "b"):
        threaded.submit(enqueued(job_id), wait=0)
    writes = [threaded.submit(enqueued(f"j{n}"), wait=0) for n in range(5)]
    assert eventually(lambda: all(write.is_known for write in writes), 1)
    store.refused.clear()
    assert eventually(lambda: record("a") is not None and record("b") is not None, 3)


def test_a_run_whose_record_is_refused_keeps_no_other_from_reporting(store, threaded):
    locked, well = running(threaded, "locked", "r1"), running(threaded, "well", "r2")
    store.refused = {"locked"}
    locked.update(current=1)
    time.sleep(0.3)
    well.update(current=2)
    assert eventually(lambda: record("well").current == 2, 1)
    assert record("locked").current == 0
    store.refused.clear()
    assert eventually(lambda: record("locked").current == 1, 3)


def test_a_run_whose_record_is_refused_takes_no_other_s_lease_along(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.6
    runs = [running(threaded, f"j{n}", f"r{n}") for n in range(9)]
    store.refused = {"j4"}
    first = [record(run.job_id).lease_until for run in runs]
    moved = [n for n in range(9) if n != 4]
    assert eventually(lambda: all(record(f"j{n}").lease_until > first[n] + SECOND // 2 for n in moved), 3)
    assert record("j4").lease_until == first[4]
    store.refused.clear()
    assert eventually(lambda: record("j4").lease_until > first[4] + SECOND // 2, 3)


def test_a_lease_that_cannot_be_moved_now_is_moved_later(store, threaded):
    threaded.submit(enqueued("locked"))
    threaded.submit(enqueued("well"))
    before = record("locked").lease_until
    store.refused = {"locked"}
    for job_id in ("locked", "well"):
        threaded.renew(job_id, "s", 1000)
    assert eventually(lambda: record("well").lease_until > before + 500 * SECOND, 1)
    store.refused.clear()
    assert eventually(lambda: record("locked").lease_until > before + 500 * SECOND, 3)


@pytest.mark.fault("E7")
def test_a_lease_that_can_never_be_moved_takes_no_other_along(store, threaded, caplog):
    names = [f"j{n}" for n in range(8)]
    for job_id in names:
        threaded.submit(enqueued(job_id))
    before = record("j0").lease_until
    store.unfit = {"j3", "no_job"}
    for job_id in (*names, "no_job"):
        threaded.renew(job_id, "s", 1000)
    well = [job_id for job_id in names if job_id != "j3"]
    assert eventually(lambda: all(record(job_id).lease_until > before + 500 * SECOND for job_id in well), 1)
    assert not threaded.is_behind
    told = [line for line in caplog.records if "lease" in line.getMessage()]
    assert {line.job_id for line in told} <= {"j3", "no_job"}
    assert told


@pytest.mark.fault("E7")
def test_a_run_whose_lease_can_never_be_moved_takes_no_other_s_along(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.6
    runs = [running(threaded, f"j{n}", f"r{n}") for n in range(5)]
    first = [record(run.job_id).lease_until for run in runs]
    store.unfit = {"j2"}
    moved = [n for n in range(5) if n != 2]
    assert eventually(lambda: all(record(f"j{n}").lease_until > first[n] + SECOND // 2 for n in moved), 3)
    assert not threaded.is_behind


@pytest.mark.fault("E7")
def test_a_record_that_cannot_be_read_keeps_no_other_run_from_hearing(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.6
    odd, well = running(threaded, "odd", "r1"), running(threaded, "well", "r2")
    store._records["odd"] = "no record"
    store.update("well", lambda job, now: apply(job, CancelRequested(job_id="well"), now=now))
    assert eventually(lambda: well.cancel_requested, 3)
    assert not odd.cancel_requested
    assert threaded.submit(enqueued("j")).is_known


def test_the_thread_does_not_spin_while_a_record_is_refused(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.6
    locked = running(threaded, "locked", "r1")
    running(threaded, "well", "r2")
    store.refused = {"locked"}
    locked.update(current=1)
    threaded.submit(Updated(job_id="locked", current=9), wait=0)
    threaded.renew("locked", "r1", 5)
    time.sleep(1)
    calls = len(store.calls)
    assert cpu_seconds(1) < 0.15
    assert len(store.calls) - calls < 20


def test_stopping_tries_a_refused_record_once_more_and_ends_in_time(store, threaded):
    store.refused = {"locked"}
    threaded.submit(enqueued("locked"), wait=0)
    threaded.submit(enqueued("well"))
    time.sleep(0.5)
    calls, began = len(store.calls), time.monotonic()
    threaded.stop(0.5)
    assert len(store.calls) > calls
    assert time.monotonic() - began < 1.2
    store.refused.clear()
    threaded.resume()
    assert eventually(lambda: record("locked") is not None)


def test_stopping_does_not_spin_for_a_run_whose_record_is_refused(store, threaded):
    locked = running(threaded, "locked", "r1")
    running(threaded, "well", "r2")
    store.refused = {"locked"}
    locked.update(current=1)
    time.sleep(0.5)
    stopping = threading.Thread(target=threaded.stop, args=(1,))
    stopping.start()
    assert cpu_seconds(0.7) < 0.2
    stopping.join()
    threaded.detach(locked)


def test_an_outage_of_hours_ends_like_any_other(store, threaded):
    store.failures = 3
    suspension = threaded._suspensions.store
    suspension.times = 5_000
    write = threaded.submit(enqueued(), wait=0)
    assert eventually(lambda: store.failures < 3)
    assert 0 < suspension.until - time.monotonic() <= threaded._suspensions.STORE[1]
    suspension.until = 0
    store.failures = 0
    assert eventually(lambda: write.is_known, 5)


# Reports


def test_the_first_change_is_reported_at_once(store, threaded):
    run = running(threaded)
    run.update(current=1)
    assert eventually(lambda: record().current == 1, 0.15)


def test_a_change_soon_after_a_report_follows_within_an_interval(store, threaded):
    run = running(threaded)
    run.update(current=1)
    assert eventually(lambda: record().current == 1)
    time.sleep(0.05)
    run.update(current=2)
    assert eventually(lambda: record().current == 2, 0.5)


@pytest.mark.case(37)
def test_changes_make_at_most_one_report_an_interval_and_the_last_is_exact(store, threaded, pushed):
    run = running(threaded)
    began = time.monotonic()
    current = 0
    while time.monotonic() - began < 0.7:
        current += 1
        run.update(current=current)
    assert eventually(lambda: record().current == current, 0.5)
    assert len(pushed) <= 1 + 1 + (time.monotonic() - began) / 0.2


def test_a_loop_is_reported_while_it_counts_and_exactly_in_the_end(store, threaded):
    run = running(threaded)
    seen = set()
    for _ in run.track(range(60)):
        time.sleep(0.01)
        seen.add(record().current)
    assert len(seen) >= 3
    threaded.detach(run)
    threaded.submit(report_of(run, Finished))
    assert (record().current, record().document["percentage"]) == (60, 100.0)


def test_a_run_s_reports_need_no_read_once_the_store_has_answered(store, threaded):
    run = running(threaded)
    run.started(record())
    store.calls.clear()
    for current in (1, 2):
        run.update(current=current)
        assert eventually(lambda current=current: record().current == current)
    assert store.calls == ["update"] * 2


def test_a_task_that_changes_what_it_was_given_changes_no_record(store, threaded):
    threaded.submit(
        Enqueued(job_id="j", job_class="c", origin=Origin(send_id="s", params={"ids": [1, 2]}, data={"rows": [1]}))
    )
    run = running(threaded)
    run.started(record())
    run.params["ids"].pop()
    run.data["rows"].append(object())
    threaded.detach(run)
    assert threaded.submit(report_of(run, Finished), known=run.known).is_known
    assert record().state is State.FINISHED
    assert (record().params, record().data) == ({"ids": [1, 2]}, {"rows": [1]})


def test_an_end_unfit_for_the_known_job_is_applied_to_the_recorded_one(store, threaded):
    run = running(threaded)
    run.started(record())
    threaded.detach(run)
    store.calls.clear()
    unfit = Finished(job_id="j", job_class="c", run_id="r", report=UNFIT)
    assert threaded.submit(unfit, known=run.known).is_known
    assert record().state is State.FINISHED
    assert store.calls[-1] == "get_many"


def test_what_others_wrote_meanwhile_is_kept_without_a_read(store, threaded):
    run = running(threaded)
    run.started(record())
    super(FlakyStore, store).update("j", lambda job, now: replace(job, meta={"theirs": 1}, version=job.version + 1))
    store.calls.clear()
    run.set_meta({"ours": 1})
    assert eventually(lambda: record().meta == {"theirs": 1, "ours": 1})
    assert store.calls == ["update"]


def test_a_report_that_was_not_written_is_written_later(store, threaded):
    run = running(threaded)
    store.failures = 2
    run.set_meta({"a": 1})
    assert eventually(lambda: record() is not None and record().meta == {"a": 1})


def test_a_finish_during_a_report_of_its_run_follows_it_with_everything(store, threaded, pushed):
    run = running(threaded)
    store.open.clear()
    calls = len(store.calls)
    run.update(current=1)
    assert eventually(lambda: len(store.calls) > calls)
    run.set_result("done")
    threaded.detach(run)
    write = threaded.submit(report_of(run, Finished), wait=0)
    store.open.set()
    assert write.done.wait(2)
    assert (record().state, record().current, record().result) == (State.FINISHED, 1, "done")
    assert eventually(lambda: [event for event, _ in pushed] == ["job_started", "meta", "job_finished"])


def test_after_a_detach_nothing_is_reported(store, threaded):
    run = running(threaded)
    threaded.detach(run)
    run.update(current=7)
    time.sleep(0.3)
    assert record().current == 0


def test_a_report_that_cannot_be_applied_disturbs_no_other_run_or_caller(store, threaded, caplog):
    bad, good = running(threaded), running(threaded, "good", "g")
    bad._meta["x"] = object()
    bad.update(current=1)
    good.update(current=1)
    assert eventually(lambda: record("good").current == 1)
    bad.update(current=2)
    time.sleep(0.3)
    assert len(caplog.records) == 1
    assert not threaded.is_behind


def test_runs_may_come_and_go_while_reports_are_written(store, threaded, caplog):
    ends = time.monotonic() + 0.5

    def work(name):
        while time.monotonic() < ends:
            run = Run(job_id=name, job_class="c", run_id=name, notify=threaded.notify)
            threaded.attach(run)
            run.update(advance=1)
            threaded.detach(run)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not caplog.records


# Leases


def test_a_lease_is_moved_soon_also_when_the_store_fails_first(store, threaded):
    threaded.submit(enqueued())
    before = record().lease_until
    store.failures = 1
    threaded.renew("j", "s", 1000)
    assert eventually(lambda: record() is not None and record().lease_until > before + 500 * SECOND)


def test_a_running_job_is_renewed_in_time(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.6
    running(threaded)
    first = record().lease_until
    assert eventually(lambda: record().lease_until > first + SECOND // 2, 2)
    assert not record().stalled


def test_runs_are_renewed_while_much_waits_to_be_written(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.3
    running(threaded)
    store.open.clear()
    writes = [threaded.submit(Updated(job_id="j", advance=1), wait=0) for _ in range(40)]
    store.pause = 0.02
    store.open.set()
    assert writes[-1].done.wait(5)
    updates = [call for call in store.calls if call in ("update", "renew")]
    assert "renew" in updates[:-5]


@pytest.mark.case(42)
def test_a_renewal_brings_back_that_cancellation_was_asked_for_elsewhere(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.3
    run = running(threaded)
    Writer().submit(CancelRequested(job_id="j"))
    assert eventually(lambda: run.cancel_requested, 2)


def test_a_report_brings_it_back_too(store, threaded):
    run = running(threaded)
    elsewhere = Writer()
    elsewhere.submit(CancelRequested(job_id="j"))
    run.update(current=1)
    assert eventually(lambda: run.cancel_requested, 1)


def test_a_request_from_this_process_is_known_at_once(store, threaded):
    run = running(threaded)
    threaded.submit(CancelRequested(job_id="j"))
    assert eventually(lambda: run.cancel_requested, 0.5)


def test_the_request_for_an_older_run_is_not_the_newer_ones(store, threaded):
    run = running(threaded, run_id="old")
    threaded.submit(started(run_id="new"))
    threaded.submit(CancelRequested(job_id="j"))
    time.sleep(0.05)
    assert not run.cancel_requested


def test_a_renewal_clears_stalled(store, threaded, settings):
    running(threaded)
    age_lease(store)
    threaded.submit(Overdue(job_id="j"))
    assert record().stalled
    settings.IMMORTUS_STALLED_AFTER = 0.3
    threaded.notify(threaded._runs.all()[0])
    assert eventually(lambda: not record().stalled, 2)
    assert record().state is State.RUNNING


def test_a_job_believed_lost_is_revived_by_its_run(store, threaded, settings, pushed):
    running(threaded)
    for _ in range(2):
        age_lease(store)
        threaded.submit(Overdue(job_id="j"))
    assert record().state is State.LOST
    settings.IMMORTUS_STALLED_AFTER = 0.3
    threaded.notify(threaded._runs.all()[0])
    assert eventually(lambda: record().state is State.RUNNING, 2)
    assert (record().attempt, record().error, record().finished_at) == (1, None, None)
    assert eventually(lambda: "job_lost" in dict(pushed) and pushed[-1][0] == "job_started")


def test_a_record_that_vanished_is_made_again_by_its_run(store, threaded, settings):
    settings.IMMORTUS_STALLED_AFTER = 0.3
    run = running(threaded)
    run.update(current=4)
    assert eventually(lambda: record().current == 4)
    store._records.clear()
    assert eventually(lambda: record() is not None and record().current == 4, 2)


def test_a_run_learns_its_attempt_when_the_store_answers(store, threaded):
    threaded.submit(started(run_id="first"))
    run = running(threaded)
    run.update(current=1)
    assert eventually(lambda: run.attempt == 2)


# Processes


def in_child(work):
    """Run `work` in a forked child; whether it returned true there."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if work() else 2
        os._exit(code)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


@pytest.fixture
def of_process(settings, monkeypatch):
    """The writer of this process, with its thread."""
    settings.IMMORTUS_INLINE = False
    monkeypatch.setattr(writer, "_writer", None)
    yield get_writer()
    writer.drain()


def run_here(job_id="j", run_id="r"):
    return Run(job_id=job_id, job_class="c", run_id=run_id, notify=lambda run: get_writer().notify(run))


@forks
@pytest.mark.django_db(transaction=True)
def test_a_forked_child_writes_through_its_own_thread_and_connection(of_process):
    assert of_process.submit(started()).is_known

    def child():
        assert get_writer() is not of_process
        assert get_writer().submit(Updated(job_id="j", meta={"child": 1}), wait=3).is_known
        writer.drain()
        return True

    assert in_child(child)
    assert of_process.submit(Updated(job_id="j", meta={"parent": 1})).is_known
    assert record().meta == {"child": 1, "parent": 1}


@forks
@pytest.mark.django_db(transaction=True)
def test_a_job_forked_in_the_middle_tells_from_both_sides_despite_any_lock(of_process):
    run = run_here()
    assert of_process.submit(started()).is_known
    of_process.attach(run)
    token = current_run.set(run)
    locked, free = threading.Event(), threading.Event()

    def hold():
        with of_process._condition, run._lock, writer._lock:
            locked.set()
            free.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(5)

    def child():
        run.set_meta({"child": 1})
        return eventually(lambda: record().meta.get("child") == 1)

    # The hook in the parent wants the lock that is held on purpose.
    threading.Timer(0.3, free.set).start()
    try:
        assert in_child(child)
        holder.join()
        run.set_meta({"parent": 1})
        assert eventually(lambda: record().meta == {"child": 1, "parent": 1})
    finally:
        current_run.reset(token)
        of_process.detach(run)


@forks
@pytest.mark.django_db(transaction=True)
def test_a_child_does_not_write_again_what_its_parent_has_pending(of_process, monkeypatch):
    of_process.submit(started())
    with of_process._condition:
        of_process._writes.put(writer.Write(Updated(job_id="j", advance=1)))

        def child():
            get_writer().submit(Updated(job_id="j", meta={"child": 1}), wait=3)
            writer.drain()
            return True

        assert in_child(child)
    of_process.submit(Updated(job_id="j", meta={"parent": 1}))
    assert record().current == 1


@forks
@pytest.mark.django_db(transaction=True)
def test_two_processes_that_write_the_same_job_lose_nothing(of_process):
    of_process.submit(started())

    def advance():
        writes = [get_writer().submit(Updated(job_id="j", advance=1), wait=0) for _ in range(40)]
        return writes[-1].done.wait(8)

    pid = os.fork()
    if pid == 0:
        os._exit(0 if advance() else 1)
    assert advance()
    assert os.waitpid(pid, 0)[1] == 0
    assert record().current == 80


@forks
@pytest.mark.django_db(transaction=True)
def test_what_was_left_before_a_fork_is_written_by_the_parent_after_it(of_process, monkeypatch, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}
    get_store().failures = 10**6
    of_process.submit(enqueued(), wait=0)
    of_process.stop(0.1)
    assert of_process._thread is None
    get_store().failures = 0
    assert in_child(lambda: get_writer()._thread is None)
    assert eventually(lambda: record() is not None)


# Inline


@pytest.mark.parametrize(
    ("inline", "in_tests", "elsewhere"),
    [(None, InlineWriter, Writer), (True, InlineWriter, InlineWriter), (False, Writer, Writer)],
)
def test_the_setting_alone_decides_which_writer_it_is(settings, monkeypatch, inline, in_tests, elsewhere):
    settings.IMMORTUS_INLINE = inline
    monkeypatch.setattr(writer, "_writer", None)
    assert type(get_writer()) is in_tests
    monkeypatch.delattr(_TestState, "saved_data")  # `mail.outbox` stays: a mail backend makes it too
    assert type(get_writer()) is elsewhere


def test_a_writer_that_another_kind_replaces_has_written_what_it_was_given(settings, monkeypatch, store):
    settings.IMMORTUS_INLINE = False
    monkeypatch.setattr(writer, "_writer", None)
    get_writer().submit(enqueued(), wait=0)
    settings.IMMORTUS_INLINE = True
    get_writer()
    assert record().state is State.ENQUEUED


@pytest.mark.django_db
def test_inline_an_event_is_written_in_the_callers_transaction():
    with contextlib.suppress(RuntimeError), transaction.atomic():
        assert InlineWriter().submit(enqueued()).is_known
        assert record() is not None
        raise RuntimeError
    assert record() is None


@pytest.mark.django_db
def test_inline_a_write_that_fails_does_not_poison_the_callers_transaction(caplog):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE immortus_channels_jobrecord RENAME TO gone")
    write = InlineWriter().submit(enqueued())
    assert not write.is_known
    assert write.done.is_set()
    assert User.objects.count() == 0
    assert len(caplog.records) == 1


def test_inline_nothing_unknown_reaches_the_caller(store, caplog):
    inline = InlineWriter()
    inline.submit(enqueued())
    assert not inline.submit(unfit()).is_known
    assert len(caplog.records) == 1


def test_inline_an_end_that_cannot_be_applied_is_told_without_its_words(store):
    inline = InlineWriter()
    inline.submit(started())
    assert inline.submit(ENDS[0][0]).is_known
    assert record().state is State.FAILED


def test_inline_a_run_is_reported_at_most_once_an_interval(store, pushed):
    inline = InlineWriter()
    inline.submit(started())
    run = Run(job_id="j", job_class="c", run_id="r", notify=inline.notify)
    run.update(current=1)
    inline.attach(run)
    for current in range(2, 1000):
        run.update(current=current)
    assert record().current == 1
    time.sleep(0.21)
    run.update(current=1000)
    assert record().current == 1000
    assert [event for event, _ in pushed] == ["job_started", "meta", "meta"]
    inline.detach(run)
    inline.submit(report_of(run, Finished))
    assert record().state is State.FINISHED


def test_inline_a_request_to_stop_is_known_at_once_and_leases_move(store):
    inline = InlineWriter()
    inline.submit(started())
    run = Run(job_id="j", job_class="c", run_id="r", notify=inline.notify)
    inline.attach(run)
    inline.submit(CancelRequested(job_id="j"))
    assert run.cancel_requested
    before = record().lease_until
    inline.renew("j", "r", 500)
    assert record().lease_until > before


# While the channel layer hangs


def test_a_push_that_hangs_is_not_taken_for_a_store_that_is_down(store, threaded, monkeypatch):
    pushing, hung = threading.Event(), threading.Event()

    def hang(self, job):
        pushing.set()
        hung.wait(10)

    monkeypatch.setattr(thread.Broadcaster, "send", hang)
    assert threaded.submit(enqueued("cancelled")).is_known
    assert pushing.wait(1)
    assert not threaded.submit(CancelRequested(job_id="cancelled"), wait=0.05).is_known
    threading.Timer(0.1, hung.set).start()
    write = threaded.submit(started("cancelled"))
    assert write.is_known, "its caller has waited"
    assert write.after.state is State.CANCELLED


def test_a_push_takes_less_time_than_a_task_waits_for_its_own_write():
    assert thread.Broadcaster.TIMEOUT < WAIT
