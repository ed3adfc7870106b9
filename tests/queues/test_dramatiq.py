"""What Dramatiq's brokers signal, by a broker and a worker in the test's process: what the suite does not reach."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FunctionType, SimpleNamespace

import dramatiq
import pytest
from django.test import RequestFactory
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import (
    AgeLimit,
    AsyncIO,
    GroupCallbacks,
    Middleware,
    Pipelines,
    Retries,
    Shutdown,
    SkipMessage,
    TimeLimit,
    raise_thread_exception,
)
from dramatiq.rate_limits.backends import StubBackend
from dramatiq_abort import Abortable
from dramatiq_abort.abort_manager import Abort
from dramatiq_abort.backends import StubBackend as AbortBackend

from immortus_channels import (
    JobCancelled,
    JobFailed,
    current_job,
    queues,
    render_immortus,
    started_by,
    tracked,
    tracking,
)
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues.dramatiq.marks import OWNER, options_of
from immortus_channels.queues.port import Port
from immortus_channels.queues.results import identify
from immortus_channels.queues.tracked import unmarked
from immortus_channels.stores import get_store
from immortus_channels.testing import recorded_jobs
from immortus_channels.urls import immortus_jobs
from tests.toys import FlakyStore, eventually

ROOT = Path(__file__).parent.parent.parent
USER = SimpleNamespace(pk="7")

urlpatterns = [*immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)


class Broker(StubBroker):
    """In memory, with a worker of one thread for as long as a test wants."""

    def declare(self, function, mark=tracked, **options):
        """Declare an actor of a copy, which is tracked unless the mark says otherwise."""
        names = "code", "globals", "name", "defaults", "closure"
        copy = FunctionType(*(getattr(function, f"__{name}__") for name in names))
        copy.__kwdefaults__ = function.__kwdefaults__
        defaults = {"max_retries": 0} if "max_retries" in self.actor_options else {}
        return dramatiq.actor(broker=self, **{**defaults, **options})(mark(copy))

    def work(self, *, until=lambda: True):
        """Work until the queues are empty, and this is true."""
        worker = dramatiq.Worker(self, worker_timeout=20, worker_threads=1)
        worker.start()
        try:
            self.join("default", fail_fast=False, timeout=10_000)
            worker.join()
            assert eventually(until)
        finally:
            worker.stop()


@pytest.fixture
def broker(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    made = Broker(middleware=[AgeLimit(), Pipelines(), Retries(min_backoff=1, max_backoff=1)])
    monkeypatch.setattr("dramatiq.broker.global_broker", made)
    yield made
    made.close()


@pytest.fixture
def jobs(broker):
    with recorded_jobs() as jobs:
        yield jobs


def record(message):
    """The job's record; None if there is none."""
    tracking.drain()
    return get_store().get_many([message.message_id]).jobs.get(message.message_id)


def state(message):
    job = record(message)
    return job and (f"{job.state}" if job.error is None else f"{job.state} {job.error.code}")


def untracked(function):
    return function


def nothing():
    """Do nothing."""


# Actors


class Resize(dramatiq.GenericActor):
    """A class-based actor, without a broker until a test gives it one."""

    class Meta:
        abstract = True

    @tracked(params=True)
    def perform(self, width):
        """Be the body."""


def test_a_mark_is_found_under_the_decorator_and_above_it(broker):
    under, above, neither = (
        broker.declare(nothing, mark, actor_name=f"{n}") for n, mark in enumerate([tracked, *[untracked] * 2])
    )
    tracked(above, cancel=False)
    assert options_of(under).cancel == "ask"
    assert options_of(above).cancel == "never"
    assert options_of(neither) is None


def test_a_class_based_actor_bears_the_mark_of_its_body(broker):
    class Mine(Resize):
        class Meta:
            broker = dramatiq.broker.global_broker

    message = Mine.send(20)
    assert (record(message).job_class, record(message).params) == ("Mine", {"width": 20})
    broker.work()
    assert state(message) == "finished"
    assert queues.name_of(Mine) == "Mine"


def test_the_adapter_knows_the_actors_and_what_they_send(broker):
    actor, other = broker.declare(nothing), broker.declare(nothing, untracked, actor_name="other")
    adapter = queues.by_name("dramatiq")
    assert adapter.tracked_names() & {"nothing", "other"} == {"nothing"}
    assert (adapter.options_of("nothing"), adapter.options_of("other")) == (options_of(actor), None)
    assert adapter.name_of(actor) == "nothing"
    message = actor.send()
    assert identify(message) == (message.message_id, "nothing")
    assert adapter.name_of(message) is adapter.job_of("nothing") is None
    with pytest.raises(ConfigurationError, match="'other' is not tracked"):
        identify(other.message())


def test_what_sending_returns_is_rendered(broker):
    message = broker.declare(nothing).send()
    answer = render_immortus(RequestFactory().post("/start"), message)
    assert answer.status_code == 202
    assert message.message_id in answer.text


def test_an_untracked_actor_leaves_no_trace(broker):
    message = broker.declare(nothing, untracked).send()
    assert message.options == {}
    broker.work()
    assert record(message) is None


def test_an_actor_that_is_tracked_later_is_tracked_from_then_on(broker):
    actor = broker.declare(nothing, untracked)
    before = actor.send()
    tracked(actor)
    after = actor.send()
    broker.work()
    assert (state(before), state(after)) == ("finished", "finished")
    assert (record(before).staff_only, record(after).staff_only) == (True, False)


# Sending


def test_a_message_is_on_record_before_the_broker_has_it(broker):
    seen = []

    class Looking(Middleware):
        def after_enqueue(self, broker, message, delay):
            seen.append(state(message))

    broker.add_middleware(Looking())
    broker.declare(nothing).send()
    assert seen == ["enqueued"]


def test_what_is_sent_is_on_record_with_its_owner_and_arguments(broker):
    def paint(colour, *, secret):
        """Paint."""

    actor = broker.declare(paint, tracked(params=True, mask="secret"))
    with started_by(USER):
        message = actor.send("blue", secret="s")
    job = record(message)
    assert (job.owner, job.queue, job.params) == ("7", "dramatiq", {"colour": "blue", "secret": "********"})


def test_a_message_that_the_broker_has_is_not_given_up(broker):
    sent, refused = broker.declare(nothing).send(), broker.declare(nothing, actor_name="refused").message()
    broker.queues.clear()
    with pytest.raises(dramatiq.QueueNotFound):
        broker.enqueue(refused)
    assert record(sent).lease_until - record(sent).enqueued_at > 3_600_000_000
    assert record(refused) is None


class Stumbling(Broker):
    """Loses its connection at the first try of each message, as a broker on RabbitMQ may; `gone` loses all."""

    gone = False

    def enqueue(self, message, *, delay=None):
        self.emit_before("enqueue", message, delay)
        if self.gone:
            raise dramatiq.ConnectionClosed(OSError())
        return super().enqueue(message, delay=delay)


def test_a_message_that_is_tried_twice_is_confirmed(broker):
    message = Stumbling(middleware=[]).declare(nothing).send()
    assert record(message).lease_until - record(message).enqueued_at > 3_600_000_000


def test_a_message_that_did_not_get_through_is_told_when_it_does(broker):
    stumbling = Stumbling(middleware=[])
    actor = stumbling.declare(nothing)
    message, stumbling.gone = actor.message(), True
    with pytest.raises(dramatiq.ConnectionClosed):
        stumbling.enqueue(message)
    lease = record(message).lease_until
    stumbling.gone = False
    actor.send()
    stumbling.enqueue(message)
    assert record(message).lease_until - lease > 3_600_000_000


def test_a_message_that_a_middleware_keeps_from_going_out_is_not_told(broker):
    class Refusing(Middleware):
        def before_enqueue(self, broker, message, delay):
            raise SkipMessage

    broker.add_middleware(Refusing())
    message = broker.declare(nothing).message()
    with pytest.raises(SkipMessage):
        broker.enqueue(message)
    assert record(message) is None


def test_a_delayed_message_is_due_later(broker):
    message = broker.declare(nothing).send_with_options(delay=3_600_000)
    assert 86_400 + 3_590 < record(message).lease_until / 1e6 - time.time() < 86_400 + 3_610


def test_a_message_that_is_sent_again_begins_another_life(broker, jobs):
    message = broker.declare(nothing).send()
    broker.work()
    broker.enqueue(message)
    broker.work()
    assert jobs.seen(message.message_id, "state") == ["enqueued", "running", "finished"] * 2
    assert record(message).attempt == 2


def test_asking_for_another_queue_s_task_leaves_nothing_behind():
    assert queues.by_name("dramatiq").options_of("shop.a_task_of_celery") is None
    assert None not in unmarked


def test_an_actor_that_is_unknown_here_gets_its_owner_along(broker):
    sent = []

    class Noting(Middleware):
        def after_enqueue(self, broker, message, delay):
            sent.append(dict(message.options))

    message = dramatiq.Message("default", "elsewhere", (), {}, {})
    broker.declare_queue("default")
    broker.add_middleware(Noting())
    with started_by(USER):
        broker.enqueue(message)
    assert record(message) is None
    broker.declare(nothing, actor_name="elsewhere")
    broker.work()
    assert (record(message).owner, state(message)) == ("7", "finished")


# Runs and their ends


def test_a_job_sees_itself_and_its_jobs_have_its_owner(broker, jobs):
    seen = {}

    def parent():
        seen.update(id=current_job().id, child=child.send())

    def grown():
        current_job().update(percentage=50)

    child = broker.declare(grown, actor_name="child")
    with started_by(USER):
        message = broker.declare(parent).send()
    broker.work()
    assert seen["id"] == message.message_id
    assert record(seen["child"]).owner == "7"
    assert current_job().id == ""


def test_a_coroutine_function_is_its_job(broker):
    broker.add_middleware(AsyncIO())

    async def awaits():
        current_job().update(message="on the loop")
        return current_job().id

    message = broker.declare(awaits, tracked(publish_result=True)).send()
    broker.work()
    job = record(message)
    assert (job.state, job.result, job.message) == ("finished", message.message_id, "on the loop")


@pytest.mark.parametrize(
    ("error", "expected"),
    [(JobFailed("no_paint", "No."), "failed no_paint"), (JobCancelled(), "failed error"), (KeyError(), "failed error")],
    ids=repr,
)
@pytest.mark.parametrize("throws", [None, KeyError, (KeyError, LookupError)])
def test_an_end_that_a_job_chooses_is_not_retried(broker, jobs, error, expected, throws):
    def ends():
        raise error

    message = broker.declare(ends, max_retries=2, throws=throws).send()
    broker.work()
    is_retried = isinstance(error, KeyError) and throws is None
    assert state(message) == expected
    assert record(message).attempt == (3 if is_retried else 1)


def test_a_retry_keeps_owner_and_arguments(broker, jobs):
    def flaky(times):
        if current_job().attempt <= times:
            raise ValueError

    actor = broker.declare(flaky, tracked(params=True), max_retries=3)
    with started_by(USER):
        message = actor.send(2)
    broker.work()
    told = ["enqueued", "running", "retrying", "running", "retrying", "running", "finished"]
    assert jobs.seen(message.message_id, "state") == told
    assert (record(message).owner, record(message).params, record(message).attempt) == ("7", {"times": 2}, 3)


def test_without_retries_each_exception_is_an_end(broker):
    def raises():
        raise ValueError

    bare = Broker(middleware=[])
    message = bare.declare(raises).send()
    bare.work()
    assert state(message) == "failed error"


def test_a_retry_that_the_broker_does_not_take_is_none(broker):
    def raises():
        broker.queues.pop("default.DQ")
        raise ValueError

    message = broker.declare(raises, max_retries=3).send()
    delayed = broker.queues["default.DQ"]
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    assert eventually(lambda: state(message) == "failed error")
    broker.queues["default.DQ"] = delayed
    worker.stop()


def test_a_body_that_sends_its_own_message_again_has_not_ended(broker, jobs):
    broker.add_middleware(dramatiq.middleware.CurrentMessage())

    def again():
        if current_job().attempt == 1:
            broker.enqueue(dramatiq.middleware.CurrentMessage.get_current_message(), delay=50)

    message = broker.declare(again).send()
    broker.work()
    assert jobs.seen(message.message_id, "state") == ["enqueued", "running", "retrying", "running", "finished"]


def test_what_is_cancelled_while_it_waits_is_skipped(broker, jobs):
    ran, skipped = [], []

    class Noting(Middleware):
        def after_skip_message(self, broker, message):
            skipped.append(message.message_id)

    broker.add_middleware(Noting())
    actor = broker.declare(lambda: ran.append(1), actor_name="runs")
    cancelled, other = actor.send(), actor.send()
    tracking.cancel(cancelled.message_id)
    broker.work()
    assert (ran, skipped) == ([1], [cancelled.message_id])
    assert jobs.seen(cancelled.message_id, "state") == ["enqueued", "cancelled"]
    assert state(other) == "finished"
    assert broker.dead_letters == []


def test_what_runs_after_a_skipped_message_is_outside_of_its_job(broker):
    seen = []
    message = broker.declare(nothing).send()
    broker.declare(lambda: seen.append(current_job().id), untracked, actor_name="after").send()
    tracking.cancel(message.message_id)
    broker.work()
    assert seen == [""]


def test_a_body_that_skips_its_message_is_cancelled(broker):
    def skips():
        raise SkipMessage

    message = broker.declare(skips).send()
    broker.work()
    assert state(message) == "cancelled cancelled"


def test_a_second_message_that_is_too_old_ends_nothing(broker, jobs):
    message = broker.declare(nothing).send_with_options(delay=300)
    broker.enqueue(message.copy(queue_name="default", options={"max_age": 1, "eta": None}))
    time.sleep(0.01)
    broker.work()
    assert len(broker.dead_letters) == 1
    assert jobs.seen(message.message_id, "state") == ["enqueued", "running", "finished"]


def test_a_cancelled_job_that_is_retried_is_cancelled(broker, jobs):
    def raises():
        tracking.cancel(current_job().id)
        raise ValueError

    message = broker.declare(raises, max_retries=3).send()
    broker.work()
    assert jobs.seen(message.message_id, "state") == ["enqueued", "running", "cancelled"]


def test_a_message_that_is_too_old_has_expired_and_has_not_run(broker, jobs):
    message = broker.declare(nothing).send_with_options(max_age=1)
    own = broker.declare(nothing, actor_name="own", max_age=1).send()
    strict = Broker(middleware=[AgeLimit(max_age=1)])
    general = strict.declare(nothing).send()
    time.sleep(0.01)
    broker.work()
    strict.work()
    for each in (message, own, general):
        assert state(each) == "cancelled expired"
        assert jobs.seen(each.message_id, "state") == ["enqueued", "cancelled"]


class Strict(Middleware):
    """Refuses all messages in one of the ways that a project's own middleware has."""

    def __init__(self, *, fails, skips):
        self.fails, self.skips = fails, skips

    def before_process_message(self, broker, message):
        if self.fails:
            message.fail()
        if self.skips:
            raise SkipMessage


@pytest.mark.parametrize(
    ("fails", "skips", "expected"),
    [(True, True, "failed rejected"), (False, True, "cancelled cancelled"), (True, False, "failed rejected")],
)
def test_a_message_that_a_middleware_refuses_has_not_run(broker, jobs, fails, skips, expected):
    broker.add_middleware(Strict(fails=fails, skips=skips))
    message = broker.declare(nothing).send()
    broker.work()
    assert state(message) == expected
    assert "running" not in jobs.seen(message.message_id, "state")


def test_an_actor_that_the_worker_does_not_know_is_told(broker):
    message = broker.declare(nothing).send()
    broker.actors.clear()
    broker.work()
    assert state(message) == "failed unknown_task"


# Time limits, shutdowns and aborts: what is raised in running code


def interrupted(error, times):
    """A body that is interrupted in its first runs, as Dramatiq does it: from another thread."""

    def overruns():
        if current_job().attempt <= times:
            raise_thread_exception(threading.get_ident(), error)
            for _ in range(100):
                time.sleep(0.01)

    return overruns


@pytest.mark.parametrize(("times", "expected"), [(1, "finished"), (9, "failed time_limit")])
def test_a_time_limit_may_be_retried(broker, jobs, times, expected):
    broker.add_middleware(TimeLimit(time_limit=50, interval=10))
    broker.emit_after("process_boot")

    def overruns():
        if current_job().attempt <= times:
            for _ in range(200):
                time.sleep(0.01)

    message = broker.declare(overruns, max_retries=1).send()
    broker.work()
    assert state(message) == expected
    assert jobs.seen(message.message_id, "state")[:4] == ["enqueued", "running", "retrying", "running"]


def test_a_time_limit_while_the_run_begins_is_no_end(broker, jobs, settings):
    settings.IMMORTUS_STORE, settings.IMMORTUS_INLINE = {"BACKEND": "tests.toys.FlakyStore"}, False
    broker.add_middleware(TimeLimit(time_limit=50, interval=10))
    broker.emit_after("process_boot")
    ran = []

    class Slow(Middleware):
        def before_process_message(self, broker, message):
            store.open.set() if message.options.get("retries") else store.open.clear()

        def after_process_message(self, broker, message, *, result=None, exception=None):
            seen.append(type(exception).__name__)
            store.open.set()

    store, seen = get_store(), []
    assert isinstance(store, FlakyStore)
    broker.add_middleware(Slow())
    message = broker.declare(lambda: ran.append(1), actor_name="runs", max_retries=1).send()
    broker.work()
    assert seen == ["TimeLimitExceeded", "NoneType"]
    assert ran == [1]
    assert "failed" not in jobs.seen(message.message_id, "state")
    assert state(message) == "finished"


@pytest.mark.parametrize(("times", "expected"), [(1, "finished"), (9, "failed worker_lost")])
def test_a_shutdown_is_retried(broker, jobs, times, expected):
    message = broker.declare(interrupted(Shutdown, times), max_retries=1).send()
    broker.work()
    assert state(message) == expected
    assert "retrying" in jobs.seen(message.message_id, "state")


@pytest.mark.parametrize(("throws", "runs"), [(None, 2), (Abort, 1)])
def test_an_abort_is_an_end_where_dramatiq_does_not_retry_it(broker, jobs, throws, runs):
    message = broker.declare(interrupted(Abort, 9), max_retries=1, throws=throws).send()
    broker.work()
    assert state(message) == "cancelled cancelled"
    assert record(message).attempt == runs
    assert jobs.seen(message.message_id, "state").count("retrying") == runs - 1


@pytest.mark.parametrize(("policy", "end"), [("ask", "returned"), ("terminate", "aborted")])
def test_a_terminating_cancel_aborts_where_dramatiq_abort_is_in_use(broker, policy, end):
    broker.add_middleware(abortable := Abortable(backend=AbortBackend()))
    abortable.wait_timeout = 20
    ended = []

    def works():
        try:
            for _ in range(60):
                time.sleep(0.01)
        except Abort:
            ended.append("aborted")
            raise
        ended.append("returned")

    message = broker.declare(works, tracked(cancel=policy)).send()
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    assert eventually(lambda: state(message) == "running")
    tracking.cancel(message.message_id)
    broker.join("default", fail_fast=False)
    worker.stop()
    assert ended == [end]
    assert policy == "ask" or state(message) == "cancelled cancelled"


# Hooks that fail


@pytest.mark.parametrize("method", ["prepare", "begin", "inside", "ended"])
def test_a_hook_of_ours_that_raises_changes_nothing(broker, monkeypatch, caplog, method):
    ran = []

    def broken(*_, **__):
        msg = "broken"
        raise RuntimeError(msg)

    monkeypatch.setattr(Port, method, broken)

    def runs(number):
        ran.append(number)
        if number == 2 and len(ran) < 4:
            raise ValueError

    actor = broker.declare(runs, max_retries=3)
    for number in (1, 2):
        actor.send(number)
    old = actor.send_with_options(args=(3,), max_age=1)
    time.sleep(0.01)
    broker.work()
    assert sorted(ran) == [1, 2, 2, 2]
    assert [each.message_id for each in broker.dead_letters] == [old.message_id]
    assert "the job continues" in caplog.text


# Pipelines and groups


@pytest.fixture
def add(broker):
    def adds(number, before=0):
        if number < 0:
            raise ValueError
        return number + before

    return broker.declare(adds, tracked(publish_result=True), actor_name="add")


@pytest.fixture
def plain(broker):
    def plain(number, before=0):
        if number < 0:
            raise ValueError

    return broker.declare(plain, untracked)


def test_a_pipeline_is_on_record_and_its_owner_s_from_the_start(broker, add, jobs):
    with started_by(USER):
        line = (add.message(1) | add.message(2) | add.message(3)).run()
    assert [(state(each), record(each).owner) for each in line.messages] == [("enqueued", "7")] * 3
    broker.work()
    assert [record(each).result for each in line.messages] == [1, 3, 6]
    assert [jobs.seen(each.message_id, "state") for each in line.messages] == [["enqueued", "running", "finished"]] * 3
    assert identify(line) == (line.messages[-1].message_id, "add")


def test_what_follows_an_untracked_actor_is_followed(broker, add, plain):
    with started_by(USER):
        line = (plain.message(1) | plain.message(2) | add.message_with_options(args=(3,), pipe_ignore=True)).run()
    assert [state(each) for each in line.messages] == [None, None, "enqueued"]
    broker.work()
    assert (state(line.messages[2]), record(line.messages[2]).owner) == ("finished", "7")


@pytest.mark.parametrize("first", ["add", "plain"])
def test_what_follows_a_failure_is_cancelled(broker, request, add, first):
    line = (request.getfixturevalue(first).message(-1) | add.message(2) | add.message(3)).run()
    broker.work()
    assert [state(each) for each in line.messages[1:]] == ["cancelled upstream"] * 2


def test_what_follows_a_message_that_a_middleware_fails_is_cancelled(broker, add, plain):
    broker.add_middleware(Strict(fails=True, skips=False))
    line = (plain.message(1) | add.message(2)).run()
    broker.work()
    assert state(line.messages[1]) == "cancelled upstream"


@pytest.mark.parametrize("member", [0, 1])
def test_what_follows_a_cancelled_job_is_cancelled(broker, add, member):
    line = (add.message(1) | add.message(2) | add.message(3)).run()
    tracking.cancel(line.messages[member].message_id)
    broker.work()
    assert [state(each) for each in line.messages[member:]] == [
        "cancelled cancelled",
        *["cancelled upstream"] * (2 - member),
    ]


def test_what_follows_waits_for_a_retry(broker, jobs):
    def flaky(before=None):
        if current_job().attempt == 1:
            raise ValueError

    actor = broker.declare(flaky, max_retries=1)
    line = (actor.message() | actor.message()).run()
    broker.work()
    assert [state(each) for each in line.messages] == ["finished"] * 2
    assert "cancelled" not in jobs.seen(line.messages[1].message_id, "state")


@pytest.mark.parametrize("first", ["add", "plain"])
def test_a_pipeline_may_run_again_for_another_user(broker, request, add, plain, first):
    line = request.getfixturevalue(first).message(1) | plain.message(2) | add.message(3)
    for owner in ("7", "8"):
        with started_by(SimpleNamespace(pk=owner)):
            line.run()
        assert OWNER not in line.messages[0].options["pipe_target"]["options"]
        broker.work()
        assert record(line.messages[2]).owner == owner


@pytest.mark.parametrize(("number", "expected"), [(1, "finished"), (-1, "cancelled upstream")])
def test_what_a_group_calls_at_its_end_is_followed(broker, add, plain, number, expected):
    broker.add_middleware(GroupCallbacks(StubBackend()), before=Retries)
    last, many = add.message(3), dramatiq.group([plain.message(1), plain.message(number)])
    many.add_completion_callback(last)
    with started_by(USER):
        many.run()
    assert (state(last), record(last).owner) == ("enqueued", "7")
    broker.work(until=lambda: state(last) == expected)
    assert OWNER not in last.options


def test_a_group_is_no_job(broker, add):
    with pytest.raises(ConfigurationError, match="render one of its messages"):
        identify(dramatiq.group([add.message(1)]))


# Brokers

OLDER = """
import dramatiq
from dramatiq.brokers.stub import StubBroker
brokers = [StubBroker(), StubBroker()]
dramatiq.set_broker(brokers[0])
from immortus_channels import tracked
actors = [dramatiq.actor(broker=broker, actor_name=f"a{n}")(tracked(lambda: None)) for n, broker in enumerate(brokers)]
import django; django.setup()
from django.test.utils import override_settings
from immortus_channels import queues, tracking
from immortus_channels.stores import get_store
with override_settings(IMMORTUS_STORE={"BACKEND": "memory"}):
    print(*queues.by_name("dramatiq").tracked_names())
    ids = [actor.send().message_id for actor in actors]
    tracking.drain()
    print(*sorted(queues.by_name("dramatiq").tracked_names()), len(get_store().get_many(ids).jobs))
"""


def python(code):
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_brokers_that_are_older_than_the_adapter_are_heard():
    assert python(OLDER) == "a0\na0 a1 2\n"


def test_no_broker_is_made_and_nothing_is_loaded_before_the_first_job():
    code = "import django, dramatiq, sys; django.setup(); import dramatiq.brokers.stub as stub\n"
    code += "dramatiq.actor(lambda: None, actor_name='untracked', broker=stub.StubBroker())\n"
    code += "assert dramatiq.broker.global_broker is None\n"
    code += "print(*(name for name in sys.modules if name.startswith('immortus_channels.')))"
    rooms = {name.split(".")[1] for name in python(code).split()}
    assert "queues" in rooms
    assert not rooms & {"jobs", "stores", "writer", "push", "tracking", "conf"}


def test_a_worker_of_greenlets_is_not_heard(broker, monkeypatch, caplog):
    monkeypatch.setattr("immortus_channels.queues.dramatiq.signals.is_green", lambda: True)
    adapter = queues.by_name("dramatiq")
    monkeypatch.setattr(adapter.signals, "_before", dict(adapter.signals._before))
    monkeypatch.setattr(adapter.signals, "_after", dict(adapter.signals._after))
    message = broker.declare(nothing).send()
    broker.work()
    assert state(message) == "enqueued"
    assert "gevent is not supported" in caplog.text


# What is wrong with a set-up


def problems():
    return {problem.id.partition(".")[2]: problem.msg for problem in queues.by_name("dramatiq").problems()}


def test_an_actor_of_another_broker_than_the_project_s_is_found(broker, monkeypatch):
    broker.declare(nothing)
    assert problems() == {}
    monkeypatch.setattr("dramatiq.broker.global_broker", Broker())
    assert "'nothing' belongs to another broker" in problems()["W030"]
    monkeypatch.setattr("dramatiq.broker.global_broker", None)
    assert problems() == {}


def test_a_coroutine_function_without_a_loop_is_found(broker):
    async def awaits():
        """Await nothing."""

    broker.declare(awaits)
    assert "'awaits' is an `async def`" in problems()["W031"]
    broker.add_middleware(AsyncIO())
    assert problems() == {}
