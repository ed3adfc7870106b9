"""What is not on record may be known to a strategy or to a queue; it is for staff, and never written down."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser, User

from immortus_channels import bounded_calls, queues
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.http import unrecorded
from immortus_channels.http.concurrency import turn
from immortus_channels.http.unrecorded import fetch
from immortus_channels.jobs.job import Error, Job, State
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from tests.toys import ToyQueue, eventually


@pytest.fixture(autouse=True)
def _connections_may_be_asked(django_db_blocker):
    """A request asks the connection that an earlier test has left open whether it is usable."""
    with django_db_blocker.unblock():
        yield


ANYBODY = AnonymousUser()


STAFF = SimpleNamespace(pk=1, is_authenticated=True, is_staff=True, has_perm=lambda permission: True)


FETCHED = {
    "x": Job(job_id="other", state=State.FINISHED, result=5, owner="9"),
    "big": Job(job_id="big", result={"id": 2**60}, meta={"id": 2**60}, strategy_meta={"speed": float("nan")}),
    "odd": Job(job_id="odd", state="finished"),
    "unfit": Job(job_id="unfit", meta={"a": object()}),
}


class Open(TrackingStrategy):
    def allows(self, user, job):
        return True


class ByWord(Open):
    def status(self, job_id):
        return {"a": "created", "b": "started", "c": "finished", "d": "failed", "e": "cancelled"}.get(job_id, "what?")


class ByJob(ByWord):
    def fetch(self, job_id):
        if job_id == "broken":
            raise RuntimeError
        return FETCHED.get(job_id)


class KnowingQueue(ToyQueue):
    def __init__(self, **tasks):
        super().__init__(**tasks)
        self.asked = []

    def fetch(self, job_id):
        self.asked.append(job_id)
        if job_id == "broken":
            raise OSError
        return Job(job_id=job_id, state=State.FAILED) if job_id == "q" else None


@pytest.fixture(autouse=True)
def queue(monkeypatch, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    queue = KnowingQueue(
        word=TaskOptions(strategy=ByWord), job=TaskOptions(strategy=ByJob), open=TaskOptions(strategy=Open)
    )
    monkeypatch.setattr(queues, "connected", [queue])
    return queue


@pytest.mark.parametrize(
    ("word", "state", "version", "error"),
    [
        ("a", State.ENQUEUED, 1, None),
        ("b", State.RUNNING, 2, None),
        ("c", State.FINISHED, 3, None),
        ("d", State.FAILED, 3, Error(code="error")),
        ("e", State.CANCELLED, 3, Error(code="cancelled")),
    ],
)
def test_a_strategy_tells_the_state_in_a_word(word, state, version, error):
    job = fetch(ANYBODY, word, "word")
    assert (job.job_id, job.job_class, job.state, job.version, job.error) == (word, "word", state, version, error)


def test_a_strategy_may_know_more_than_a_word_but_not_whose_it_is_or_which():
    job = fetch(ANYBODY, "x", "job")
    assert (job.job_id, job.result, job.staff_only) == ("x", 5, True)


def test_what_a_strategy_fetched_is_shown_as_all_that_it_says_is(caplog):
    document = fetch(ANYBODY, "big", "job").document
    assert (document["result"], document["id"], document["speed"]) == ({"id": str(2**60)}, str(2**60), None)
    assert {record.job_id for record in caplog.records} == {"big"}


@pytest.mark.parametrize("job_id", ["odd", "unfit"])
def test_what_cannot_be_shown_is_known_to_nobody_and_logged(job_id, caplog):
    assert fetch(ANYBODY, job_id, "job") is None
    assert {record.job_id for record in caplog.records} == {job_id}


def test_fetch_is_asked_before_status_and_the_queue_last(queue):
    assert fetch(ANYBODY, "a", "job").state is State.ENQUEUED
    assert queue.asked == []
    assert fetch(STAFF, "q", "word").state is State.FAILED
    assert queue.asked == ["q"]


def test_a_queue_tells_where_the_strategy_has_nothing_to_say():
    assert fetch(STAFF, "q", "open").state is State.FAILED
    assert fetch(STAFF, "nobody", "open") is None


@pytest.mark.parametrize("named", ["", "open", "word", "job", "no such task"])
def test_a_queue_s_answer_that_names_no_task_is_for_staff_only(named):
    assert fetch(ANYBODY, "q", named) is None
    assert fetch(User(pk=7, username="u"), "q", named) is None
    assert fetch(STAFF, "q", named).state is State.FAILED


def test_a_strategy_for_all_tasks_says_nothing_of_a_job_of_an_unnamed_task(settings, queue):
    settings.IMMORTUS_TRACKING_STRATEGY = Open
    assert fetch(ANYBODY, "q", "") is None
    assert queue.asked == ["q"]
    assert fetch(STAFF, "q", "").staff_only


def test_the_project_s_own_rule_says_who_is_staff(settings):
    settings.IMMORTUS_ACCESS = f"{__name__}.only_operators"
    assert fetch(User(pk=7, username="operator"), "q", "open").state is State.FAILED
    assert fetch(User(pk=8, username="u"), "q", "open") is None


def only_operators(user, job):
    return user.username == "operator"


def test_a_queue_s_answer_that_names_its_task_obeys_that_task_s_strategy(queue, monkeypatch):
    monkeypatch.setattr(queue, "fetch", lambda job_id: Job(job_id=job_id, job_class="open", state=State.FINISHED))
    assert fetch(ANYBODY, "q", "open").job_class == "open"
    assert fetch(ANYBODY, "q", "") is None


def test_the_name_of_an_open_task_does_not_open_the_job_of_another_task(queue, monkeypatch):
    monkeypatch.setattr(queue, "fetch", lambda job_id: Job(job_id=job_id, job_class="word", state=State.FINISHED))
    assert fetch(ANYBODY, "q", "open") is None
    assert fetch(ANYBODY, "q", "word").job_class == "word"
    assert fetch(STAFF, "q", "").job_class == "word"


def test_of_a_task_that_nobody_knows_every_queue_is_asked(monkeypatch, queue):
    other = KnowingQueue()
    monkeypatch.setattr(queues, "connected", [other, queue])
    assert fetch(STAFF, "nobody", "") is None
    assert (other.asked, queue.asked) == (["nobody"], ["nobody"])


def test_of_a_task_that_several_queues_may_run_each_of_them_is_asked(monkeypatch, queue):
    runs_any = KnowingQueue(word=TaskOptions(strategy=ByWord))
    monkeypatch.setattr(runs_any, "fetch", lambda job_id: None)
    monkeypatch.setattr(queues, "connected", [runs_any, queue])
    assert fetch(STAFF, "q", "word").state is State.FAILED
    assert queue.asked == ["q"]


def test_a_strategy_or_queue_that_breaks_is_logged_and_knows_nothing(caplog):
    assert fetch(ANYBODY, "broken", "job") is None
    assert [record.job_id for record in caplog.records] == ["broken", "broken"]


def test_nobody_is_asked_for_somebody_who_would_not_be_told(queue):
    assert fetch(ANYBODY, "q", "") is None
    assert fetch(User(pk=7, username="u"), "q", "") is None
    assert queue.asked == []
    assert fetch(STAFF, "q", "").staff_only


def test_nothing_of_it_is_written_down():
    fetch(STAFF, "q", "")
    assert get_store().get_many(["q"]).jobs == {}


# What hangs


@pytest.fixture
def hanging(queue, monkeypatch, settings):
    """As anywhere but under a test runner; whatever is asked about a job whose id says so hangs until the test ends."""
    monkeypatch.setattr(unrecorded, "is_inline", lambda: False)
    monkeypatch.setattr(bounded_calls, "PATIENCE", 0.2)
    settings.IMMORTUS_LIMITS = {"requests_in_parallel": 1}
    over = threading.Event()
    ask = queue.fetch
    monkeypatch.setattr(queue, "fetch", lambda job_id: over.wait(10) if job_id == "hangs" else ask(job_id))
    monkeypatch.setattr(ByWord, "status", lambda _, job_id: "finished" if job_id != "hangs" else over.wait(10))
    bounded_calls._targets.clear()
    yield over
    over.set()
    bounded_calls._targets.clear()


@pytest.mark.parametrize(("user", "job_class"), [(STAFF, ""), (ANYBODY, "word")])
def test_nobody_waits_long_for_a_queue_or_a_strategy_that_hangs(hanging, user, job_class):
    began = time.monotonic()
    assert fetch(user, "hangs", job_class) is None
    assert time.monotonic() - began < 1
    began = time.monotonic()
    for _ in range(100):
        assert fetch(user, "hangs", job_class) is None
    assert time.monotonic() - began < 0.2, "it is left alone for a while"


@pytest.mark.usefixtures("hanging")
def test_what_answers_is_told_outside_a_test_runner_too():
    assert fetch(ANYBODY, "c", "word").state is State.FINISHED
    assert fetch(STAFF, "q", "").state is State.FAILED


def test_whoever_waits_for_it_leaves_their_turn_to_others(hanging):
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(in_turn, STAFF, "hangs")
        assert eventually(lambda: bounded_calls._targets["the records of toy"].places._value < bounded_calls.MOST)
        began = time.monotonic()
        with turn():
            assert time.monotonic() - began < 0.1
        assert waiting.result() is None


def in_turn(user, job_id):
    with turn():
        return fetch(user, job_id)
