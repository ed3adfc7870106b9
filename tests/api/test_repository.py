"""Jobs are made by hand once, whoever has told of them before, and found by who may see them."""

from __future__ import annotations

import enum
import threading
import uuid
from decimal import Decimal
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from celery.result import AsyncResult
from django.contrib.auth.models import AnonymousUser, User
from django.utils.safestring import mark_safe

from immortus_channels import queues, tracking
from immortus_channels.api.job import JobHandle
from immortus_channels.api.job_handler import JobHandler
from immortus_channels.api.job_state import JobState
from immortus_channels.api.repository import JobRepository, aget_job, get_job
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import (
    ConfigurationError,
    DocumentTooLarge,
    InvalidValue,
    JobExists,
    JobNotFound,
    StoreUnavailable,
)
from immortus_channels.jobs.events import Enqueued, Finished, Origin, Overdue, Started
from immortus_channels.jobs.job import State
from immortus_channels.jobs.owner import started_by
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from immortus_channels.tracking import reader
from immortus_channels.writer import values
from immortus_channels.writer.run import current_run
from tests.toys import ToyQueue


class Private(TrackingStrategy):
    def allows(self, user, job):
        return user.username == "friend"


class Noting(TrackingStrategy):
    def __init__(self):
        self.told = []

    def job_enqueued(self, job_id):
        self.told.append(job_id)


NOTING = Noting()


class Classroom:
    class NiceHandler(JobHandler):
        pass


class Noted(TrackingStrategy):
    job_enqueued = staticmethod(NOTING.job_enqueued)


class Nice(JobHandler):
    pass


@pytest.fixture(autouse=True)
def _queue(monkeypatch):
    tasks = {"task": TaskOptions(), "private": TaskOptions(strategy=Private), "noted": TaskOptions(strategy=Noted)}
    monkeypatch.setattr(queues, "connected", [ToyQueue(**tasks)])


@pytest.fixture
def job_id():
    return uuid.uuid4().hex


@pytest.fixture(params=["memory", pytest.param("database", marks=pytest.mark.django_db)])
def store(request, settings):
    settings.IMMORTUS_STORE = {"BACKEND": request.param}
    return get_store()


@pytest.fixture
def memory(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}
    return get_store()


repository = JobRepository()


# Made by hand


def test_a_new_job_has_an_id_of_its_own_its_handler_and_its_data(store):
    job = repository.create(handler=Nice, classroom_id=5, pair=(1, None))
    other = repository.create()
    assert job.job_id != other.job_id
    assert job.record.handler == f"{__name__}.Nice"
    found = repository.find(job.job_id)
    assert (found.state, dict(found.data)) == (State.ENQUEUED, {"classroom_id": 5, "pair": [1, None]})


def test_it_belongs_to_whoever_is_logged_in(memory):
    with started_by(User(pk=7)):
        assert repository.create().owner == "7"
    assert repository.create().owner is None


def test_a_job_made_in_a_job_belongs_to_its_owner(memory):
    with started_by(User(pk=7)):
        outer = repository.create()
    with outer.running():
        assert repository.create().owner == "7"


def test_the_handler_may_be_called_handler_class_and_be_a_name(memory):
    job = repository.create(handler_class="tests.api.test_repository.Classroom.NiceHandler")
    assert job.record.handler == "tests.api.test_repository.Classroom.NiceHandler"


@pytest.mark.parametrize("name", ["typo", "shop.views.Typo", "tests.api.test_repository.Private"])
def test_a_name_that_is_no_handlers_is_refused_where_a_developer_sees_it(memory, monkeypatch, name):
    with pytest.raises(ConfigurationError):
        repository.create(handler_class=name)
    monkeypatch.setattr("immortus_channels.api.repository.is_strict", lambda: False)
    assert repository.create(handler_class=name).record.handler == name


@pytest.mark.parametrize("handler", [Private, 5, True, Private()], ids=type)
@pytest.mark.parametrize("is_strict", [True, False])
def test_what_is_no_handler_is_refused(memory, monkeypatch, handler, is_strict):
    monkeypatch.setattr("immortus_channels.api.repository.is_strict", lambda: is_strict)
    with pytest.raises(ConfigurationError, match=r"inherit from immortus_channels\.JobHandler"):
        repository.create(handler=handler)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0"])
def test_what_cannot_be_an_id_is_refused(memory, name):
    with pytest.raises(InvalidValue, match=r"cannot be a job's id.*U\+001F"):
        repository.create(id=name)


def test_a_job_that_waits_to_be_written_is_not_unknown(memory, job_id, monkeypatch):
    monkeypatch.setattr(reader, "get_writer", lambda: SimpleNamespace(held={job_id}.intersection))
    with pytest.raises(StoreUnavailable, match="waits to be written"):
        get_job(job_id)


def test_what_cannot_be_json_is_refused_and_no_job_is_made(memory, job_id):
    with pytest.raises(InvalidValue):
        repository.create(id=job_id, thing=object())
    with pytest.raises(JobNotFound):
        repository.find(job_id)


def test_a_second_making_of_an_id_is_refused(store, job_id):
    repository.create(id=job_id, a=1)
    with pytest.raises(JobExists, match="was created before"):
        repository.create(id=job_id, a=2)
    assert dict(repository.find(job_id).data) == {"a": 1}


def test_of_many_who_make_the_same_job_at_once_one_succeeds(memory, job_id):
    memory.pause = 0.005
    outcomes, barrier = [], threading.Barrier(8)

    def make(n):
        barrier.wait()
        try:
            repository.create(id=job_id, winner=n)
        except JobExists:
            outcomes.append(None)
        else:
            outcomes.append(n)

    threads = [threading.Thread(target=make, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [n for n in outcomes if n is not None]
    assert repository.find(job_id).data["winner"] == winner


def test_a_job_that_was_made_and_never_started_is_never_lost(memory, job_id):
    repository.create(id=job_id)
    assert get_store().get_many([job_id]).jobs[job_id].lease_until is None
    assert tracking.publish(Overdue(job_id=job_id)).state is State.ENQUEUED


def test_a_store_that_is_down_takes_the_record_later_and_stops_nobody(memory, job_id):
    memory.failures = 100
    job = repository.create(id=job_id, a=1)
    assert (job.job_id, dict(job.data)) == (job_id, {"a": 1})


# With a queue


def sent(job_id, job_class="task", **origin):
    return tracking.publish(Enqueued(job_id=job_id, job_class=job_class, origin=Origin(send_id="s", **origin)))


@pytest.mark.parametrize("ended", [False, True])
def test_making_a_job_after_sending_it_adds_to_it_and_resets_nothing(store, job_id, ended):
    sent(job_id, owner="7")
    tracking.publish(Started(job_id=job_id, job_class="task", run_id="r"))
    if ended:
        tracking.publish(Finished(job_id=job_id, job_class="task", run_id="r"))
    job = repository.create(id=job_id, handler=Nice, classroom_id=5)
    assert (job.state, job.owner, job.job_class) == (State.FINISHED if ended else State.RUNNING, "7", "task")
    assert (job.record.handler, dict(job.data)) == (f"{__name__}.Nice", {"classroom_id": 5})


def test_making_a_job_before_sending_it_makes_the_same_one(store, job_id):
    with started_by(User(pk=7)):
        repository.create(id=job_id, handler=Nice, classroom_id=5)
    sent(job_id, owner="7")
    job = repository.find(job_id)
    assert (job.attempt, job.owner, job.record.handler, dict(job.data)) == (
        1,
        "7",
        f"{__name__}.Nice",
        {"classroom_id": 5},
    )


def test_its_strategy_hears_of_a_job_when_it_is_sent_not_when_it_is_made(memory, settings, job_id):
    settings.IMMORTUS_TRACKING_STRATEGY = Noted
    repository.create(id=job_id)
    assert job_id not in NOTING.told
    sent(job_id, job_class="noted")
    sent(job_id, job_class="noted")
    assert NOTING.told.count(job_id) == 1


# For whom


@pytest.fixture
def owned(memory, job_id):
    def make(job_class="task", owner="7"):
        tracking.publish(Started(job_id=job_id, job_class=job_class, run_id="r", origin=Origin(owner=owner)))
        return job_id

    return make


def test_without_a_user_no_permission_is_asked(owned):
    assert get_job(owned()).owner == "7"


def test_with_a_user_a_job_that_is_not_theirs_is_not_found(owned):
    job_id = owned()
    assert get_job(job_id, user=User(pk=7)).owner == "7"
    for stranger in (User(pk=8), AnonymousUser(), None):
        with pytest.raises(JobNotFound, match="is known"):
            get_job(job_id, user=stranger)
    assert get_job(job_id).owner == "7", "only where no user is given, nobody is asked"


def test_none_sees_what_an_anonymous_user_sees(owned):
    assert get_job(owned(owner=None), user=None).owner is None


@pytest.mark.parametrize("given", [7, "ann", False, "", object(), {"username": "ann"}])
def test_what_is_no_user_is_refused_with_what_to_give(owned, given):
    job_id = owned()
    with pytest.raises(TypeError, match=r"is not a user: give request\.user"):
        get_job(job_id, user=given)


def test_the_strategy_says_who_may_see_a_job(owned):
    job_id = owned("private")
    assert get_job(job_id, user=User(pk=9, username="friend"))
    with pytest.raises(JobNotFound):
        get_job(job_id, user=User(pk=7, username="owner"))


async def test_async_code_reads_a_job_too(owned):
    job_id = owned()
    assert (await aget_job(job_id, user=User(pk=7))).job_id == job_id
    with pytest.raises(JobNotFound):
        await aget_job(job_id, user=User(pk=8))
    with pytest.raises(JobNotFound):
        await aget_job(job_id, user=None)
    assert (await aget_job(job_id)).owner == "7"


def test_getting_the_job_one_runs_in_brings_what_others_wrote_meanwhile(owned):
    job_id = owned()
    run = tracking.make_run(job_id=job_id, job_class="task", run_id="r", origin=None)
    token = current_run.set(run)
    try:
        assert get_job(job_id).owner == "7"
    finally:
        current_run.reset(token)


def test_a_silent_job_is_found_out_by_whoever_reads_it(store, job_id):
    for kind in (Enqueued, Started):
        tracking.publish(kind(job_id=job_id, job_class="task", run_id="r" if kind is Started else "", origin=Origin()))
    get_store().renew({job_id: "r"}, -1)
    assert get_job(job_id).document["stalled"] is True
    get_store().renew({job_id: "r"}, -1)
    assert get_job(job_id).state is State.LOST


def test_a_job_that_reads_itself_is_not_silent(store, job_id):
    run = tracking.make_run(job_id=job_id, job_class="task", run_id="r", origin=Origin())
    token = current_run.set(run)
    tracking.begin(run)
    try:
        get_store().renew({job_id: "r"}, -1)
        assert get_job(job_id).document["stalled"] is False
    finally:
        current_run.reset(token)
        tracking.end(run, Finished)


NO_IDS = [None, True, 1.0, b"j", ["j"], Decimal(1), object(), AsyncResult("j"), JobHandle("j"), 10**300]


@pytest.mark.parametrize("given", NO_IDS, ids=lambda it: type(it).__name__)
@pytest.mark.parametrize(
    "door",
    [get_job, JobRepository().find, JobRepository().create, JobState.find, JobHandle, TrackingStrategy().publish_meta],
    ids=["get_job", "find", "create", "JobState.find", "JobHandle", "publish_meta"],
)
def test_what_is_no_id_is_refused_at_every_door_and_the_cure_is_said(memory, door, given):
    if given is None and door.__name__ == "create":
        pytest.skip("then it gets one")
    with pytest.raises(TypeError, match="give text, a UUID or a whole number; of what delay"):
        door(given)


class Kind(str, enum.Enum):  # noqa: UP042 - as projects wrote it before StrEnum
    NIGHTLY = "nightly"


class Code(enum.IntEnum):
    LARGE = 7


IDS = [
    (42, "42"),
    (0, "0"),
    (-3, "-3"),
    (uuid.UUID(int=5), str(uuid.UUID(int=5))),
    (Kind.NIGHTLY, "nightly"),
    (Code.LARGE, "7"),
]


@pytest.mark.parametrize(("given", "text"), [*IDS, (mark_safe("a"), "a"), (10**200, "1" + "0" * 200)])
def test_a_whole_number_and_a_uuid_name_the_job_that_their_text_names(store, given, text):
    made = JobRepository().create(id=given, classroom=5)
    assert (made.job_id, type(made.job_id)) == (text, str)
    for job in (get_job(given), JobRepository().find(text), JobState.find(given), JobHandle(given)):
        assert job.id == job.job_id == job.document["job_id"] == text
        assert job.data["classroom"] == 5
    with pytest.raises(JobExists, match=f"find\\({text!r}\\)"):
        JobRepository().create(id=text)


async def test_an_async_view_gives_what_its_address_gave(memory):
    await sync_to_async(JobRepository().create)(id=42)
    assert (await aget_job(42)).id == "42"


@pytest.mark.parametrize("text", ["", "x" * 256, "a\0", "\ud800"], ids=["empty", "long", "NUL", "half"])
def test_a_text_that_can_be_no_id_is_no_jobs(store, text):
    with pytest.raises(JobNotFound, match="1 to 255 characters"):
        get_job(text)


@pytest.mark.parametrize("job_id", ["unknown", "", "known"])
def test_what_is_no_user_is_refused_whatever_the_id(store, job_id):
    JobRepository().create(id="known")
    with pytest.raises(TypeError, match="user=5 is not a user"):
        get_job(job_id, user=5)


def test_data_beyond_the_limit_is_refused_or_in_production_left_out(store, monkeypatch):
    with pytest.raises(DocumentTooLarge, match="'rows'"):
        JobRepository().create(id="j", rows="x" * 200_000)
    monkeypatch.setattr(values, "is_strict", lambda: False)
    assert dict(JobRepository().create(id="j", rows="x" * 200_000, batch=1).data) == {"batch": 1}


def test_names_of_data_are_what_every_store_takes(store):
    assert JobRepository().create(**{"a\0": 1, "b\ud800": 2}).data == {"a\ufffd": 1, "b\ufffd": 2}
