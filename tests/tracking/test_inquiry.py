"""Before a job is called lost, its queue's own record is asked once how its run ended."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace

import pytest

from immortus_channels import bounded_calls, queues, tracking, writer
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.jobs.events import Enqueued, Failed, Finished, Origin, Report, Reported, Retrying, Started
from immortus_channels.jobs.job import State
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter
from immortus_channels.tracking import inquiry, reader
from tests.toys import ToyQueue, eventually


class Recording(ToyQueue):
    """A queue with records, whose answer the test gives."""

    def __init__(self):
        super().__init__(paint=TaskOptions())
        self.answer = lambda **_: None
        self.asked = []
        self.keeps = True

    def keeps_records(self):
        return self.keeps

    def end_of(self, job_id, job_class, *, since):
        self.asked.append((job_id, job_class, since))
        return self.answer(job_id=job_id, job_class=job_class)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(bounded_calls, "PATIENCE", 0.3)
    monkeypatch.setattr(bounded_calls, "PAUSE", 0.3)
    bounded_calls._targets.clear()
    yield
    bounded_calls._targets.clear()


@pytest.fixture
def queue(monkeypatch):
    queue = Recording()
    monkeypatch.setattr(queues, "connected", [queue])
    return queue


@pytest.fixture(params=["under a test runner", "beside"])
def _asked(request, monkeypatch):
    """Here and now, as under a test runner, or in a thread, as anywhere else."""
    if request.param == "beside":
        monkeypatch.setattr(inquiry, "is_inline", lambda: False)
        monkeypatch.setattr(writer, "is_inline", lambda: False)
        monkeypatch.setattr(writer, "_writer", None)
        yield
        writer.drain()
    else:
        yield


@pytest.fixture
def job_id():
    return uuid.uuid4().hex


def record(job_id):
    return get_store().get_many([job_id]).jobs[job_id]


def silent(job_id, **changes):
    """Let the job's lease have ended."""
    get_store().update(job_id, lambda job, now: replace(job, version=now, lease_until=now - 1, **changes))


def stalled(job_id, *, queue="toy"):
    about = {"job_id": job_id, "job_class": "paint", "origin": Origin(send_id="s", queue=queue)}
    tracking.publish(Enqueued(**about))
    tracking.publish(Started(**about, run_id="r", began=5_000))
    tracking.publish(Reported(**about, run_id="r", report=Report(step=1, current=3, total=4)))
    silent(job_id, stalled=True)


def recheck(job_id):
    tracking.recheck({job_id: "paint"})


LOOKS = [
    lambda job_id: tracking.read([job_id]),
    recheck,
    lambda _: tracking.list_jobs(Filter(), limit=5, before=None),
]


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("look", LOOKS)
def test_whoever_finds_it_lost_has_its_queue_asked_first(queue, job_id, look):
    stalled(job_id)
    queue.answer = lambda **about: Finished(**about, report=Report(result={"pages": 3}))
    look(job_id)
    assert eventually(lambda: record(job_id).is_over)
    job = record(job_id)
    assert (job.state, job.result, job.current, job.total) == (State.FINISHED, {"pages": 3}, 3, 4)
    assert queue.asked == [(job_id, "paint", 5_000)]


@pytest.mark.usefixtures("_asked")
def test_a_failure_on_its_record_is_the_job_s(queue, job_id):
    stalled(job_id)
    queue.answer = lambda **about: Failed(**about, code="too_big", message="Too big.")
    recheck(job_id)
    assert eventually(lambda: record(job_id).state is State.FAILED)
    assert record(job_id).error.code == "too_big"


def broken(**_):
    raise OSError


def hanging(**_):
    time.sleep(1)


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("answer", [lambda **_: None, broken, hanging])
def test_without_an_answer_it_is_lost(queue, job_id, answer):
    stalled(job_id)
    queue.answer = answer
    began = time.monotonic()
    recheck(job_id)
    assert eventually(lambda: record(job_id).state is State.LOST)
    assert time.monotonic() - began < 0.9


@pytest.mark.usefixtures("_asked")
def test_who_only_stalls_is_not_asked_about(queue, job_id):
    stalled(job_id)
    silent(job_id, stalled=False)
    recheck(job_id)
    assert eventually(lambda: record(job_id).stalled)
    assert queue.asked == []


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("known", ["another queue", ""])
def test_a_job_of_no_queue_that_is_known_here_is_lost_at_once(queue, job_id, known):
    stalled(job_id, queue=known)
    assert tracking.read([job_id])[job_id].state is State.LOST
    assert queue.asked == []


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("keeps", [False, None])
def test_a_queue_without_records_is_not_asked(queue, job_id, keeps, monkeypatch):
    queue.keeps = keeps
    if keeps is None:
        monkeypatch.setattr(queue, "keeps_records", lambda: 1 / 0)
    stalled(job_id)
    assert tracking.read([job_id])[job_id].state is State.LOST
    assert queue.asked == []


@pytest.mark.usefixtures("_asked")
def test_a_retry_that_never_came_is_asked_about_from_the_time_it_was_due(queue, job_id):
    stalled(job_id)
    tracking.publish(Retrying(job_id=job_id, job_class="paint", run_id="r"))
    assert eventually(lambda: record(job_id).state is State.RETRYING)
    silent(job_id)
    due = record(job_id).lease_until - 86_400_000_000
    recheck(job_id)
    assert eventually(lambda: record(job_id).state is State.LOST)
    assert queue.asked == [(job_id, "paint", due)]


def test_however_many_look_the_queue_is_asked_once_and_nobody_waits(queue, job_id, monkeypatch):
    monkeypatch.setattr(inquiry, "is_inline", lambda: False)
    stalled(job_id)
    queue.answer = lambda **_: time.sleep(0.2)
    began = time.monotonic()
    for _ in range(50):
        assert tracking.read([job_id])[job_id].stalled
    assert time.monotonic() - began < 0.2
    assert eventually(lambda: record(job_id).state is State.LOST)
    assert len(queue.asked) == 1


def test_of_many_jobs_each_is_asked_about_and_the_thread_ends(queue, monkeypatch):
    monkeypatch.setattr(inquiry, "is_inline", lambda: False)
    ids = [uuid.uuid4().hex for _ in range(30)]
    for one in ids:
        stalled(one)
    queue.answer = Finished
    tracking.recheck(dict.fromkeys(ids, "paint"))
    assert eventually(lambda: {record(one).state for one in ids} == {State.FINISHED})
    assert sorted(asked[0] for asked in queue.asked) == sorted(ids)
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "immortus-inquiry"])


def test_where_no_thread_can_be_started_whoever_looks_next_tries_again(queue, job_id, monkeypatch):
    monkeypatch.setattr(inquiry, "is_inline", lambda: False)
    stalled(job_id)

    def cannot(_):
        raise RuntimeError

    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", cannot)
        recheck(job_id)
    assert record(job_id).stalled
    recheck(job_id)
    assert eventually(lambda: record(job_id).state is State.LOST)


def test_a_job_that_speaks_while_its_queue_is_asked_is_not_lost(queue, job_id, monkeypatch):
    monkeypatch.setattr(inquiry, "is_inline", lambda: False)
    stalled(job_id)
    spoken = threading.Event()
    queue.answer = lambda **_: spoken.wait(1) and None
    recheck(job_id)
    tracking.publish(Reported(job_id=job_id, job_class="paint", run_id="r", report=Report(step=1, current=4, total=4)))
    spoken.set()
    assert eventually(lambda: not inquiry._inquiries)
    assert (record(job_id).state, record(job_id).stalled) == (State.RUNNING, False)


# Jobs that wait, of a queue some of whose ends stand in its own records alone


WAITS = {
    "not confirmed": {"lease_until": 45},
    "confirmed": {"lease_until": 86_400 - 11},
    "to run later": {"enqueued_at": -3_600, "lease_until": 86_400 - 11},
    "again": {"state": State.RETRYING, "run_id": "r", "lease_holder": "", "lease_until": 86_400 - 11},
}
LOOKS_AT_IT = [lambda job_id: tracking.read([job_id]), lambda job_id: tracking.ask_strategies({job_id: "paint"})]


@pytest.fixture
def silent_queue(queue, monkeypatch):
    monkeypatch.setattr(queue, "ends_silently", True, raising=False)
    return queue


def waits(job_id, *, enqueued_at=-15, lease_until=45, **changes):
    """Put a job on record that was sent some seconds ago; all times are given in seconds from now."""
    tracking.publish(Enqueued(job_id=job_id, job_class="paint", origin=Origin(send_id="s", queue="toy")))

    def change(job, now):
        at = {"enqueued_at": now + enqueued_at * 1_000_000, "lease_until": now + lease_until * 1_000_000}
        return replace(job, version=now, **at, **changes)

    return get_store().update(job_id, change)[1]


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("look", LOOKS_AT_IT, ids=["read", "watched"])
@pytest.mark.parametrize("state", WAITS.values(), ids=WAITS)
def test_a_job_that_should_run_is_asked_about_where_ends_may_be_silent(silent_queue, job_id, look, state):
    silent_queue.answer = lambda **about: Failed(**about, code="expired")
    job = waits(job_id, **state)
    look(job_id)
    assert eventually(lambda: record(job_id).is_over)
    assert (record(job_id).state, record(job_id).error.code) == (State.FAILED, "expired")
    due = job.lease_until - 86_400_000_000 if job.run_id else job.enqueued_at - 60_000_000
    assert silent_queue.asked == [(job_id, "paint", due)]


@pytest.mark.parametrize("look", LOOKS_AT_IT, ids=["read", "watched"])
def test_its_queue_is_asked_although_another_one_may_run_its_task(silent_queue, job_id, look, monkeypatch):
    monkeypatch.setattr(queues, "connected", [ToyQueue("runs any function", paint=TaskOptions()), silent_queue])
    waits(job_id)
    look(job_id)
    assert eventually(lambda: silent_queue.asked)


@pytest.mark.parametrize("look", LOOKS_AT_IT, ids=["read", "watched"])
@pytest.mark.parametrize(
    "state",
    [
        {"enqueued_at": -8, "lease_until": 52},
        {"lease_until": 86_400 - 8},
        {"lease_until": 90_000},
        {"state": State.RUNNING, "run_id": "r", "lease_holder": "r"},
        {"state": State.FINISHED, "run_id": "r", "lease_holder": ""},
    ],
    ids=["sent just now", "due just now", "due later", "runs", "is over"],
)
def test_a_job_that_does_not_wait_too_long_is_not_asked_about(silent_queue, job_id, look, state):
    waits(job_id, **state)
    look(job_id)
    assert silent_queue.asked == []


@pytest.mark.parametrize("look", LOOKS_AT_IT, ids=["read", "watched"])
def test_where_no_end_is_silent_a_job_that_waits_is_not_asked_about(queue, job_id, look):
    waits(job_id)
    look(job_id)
    assert queue.asked == []


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("answer", [lambda **_: None, broken])
@pytest.mark.parametrize("look", LOOKS_AT_IT, ids=["read", "watched"])
def test_without_an_answer_a_job_that_waits_waits_on(silent_queue, job_id, answer, look):
    silent_queue.answer = answer
    before = waits(job_id)
    look(job_id)
    assert eventually(lambda: silent_queue.asked)
    assert eventually(lambda: not inquiry._inquiries)
    assert record(job_id) == before


def test_a_job_that_waits_is_asked_about_every_ten_seconds(silent_queue, job_id, monkeypatch):
    waits(job_id)
    for _ in range(3):
        for look in LOOKS_AT_IT:
            look(job_id)
    assert len(silent_queue.asked) == 1
    monkeypatch.setattr(reader, "LOOK", 0.05)
    time.sleep(0.06)
    LOOKS_AT_IT[0](job_id)
    time.sleep(0.06)
    LOOKS_AT_IT[1](job_id)
    assert len(silent_queue.asked) == 3


def test_a_job_whose_task_is_unknown_here_is_looked_at_by_its_record(silent_queue, job_id, monkeypatch):
    """A web server may not have imported the task, and there are several queues."""
    monkeypatch.setattr(queues, "connected", [silent_queue, ToyQueue("other")])
    monkeypatch.setattr(silent_queue, "tasks", {})
    waits(job_id)
    tracking.ask_strategies({job_id: "paint"})
    assert [asked[0] for asked in silent_queue.asked] == [job_id]


class Telling(TrackingStrategy):
    """Says something new each time."""

    said = 0

    def meta(self, job_id):
        Telling.said += 1
        return {"said": Telling.said}


@pytest.mark.parametrize("look", LOOKS_AT_IT, ids=["read", "watched"])
def test_the_strategy_of_a_job_is_asked_beside_its_queue(silent_queue, job_id, look, monkeypatch):
    monkeypatch.setattr(silent_queue, "tasks", {"paint": TaskOptions(strategy=Telling)})
    before = waits(job_id)
    look(job_id)
    assert len(silent_queue.asked) == 1
    assert record(job_id).strategy_meta["said"] > before.strategy_meta["said"]
