"""Celery lets a task have any id: what can name a job does, and what cannot takes nobody else's along."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator

import pytest
from celery import Celery, Task, _state
from celery.events import EventDispatcher
from kombu.exceptions import EncodeError, SerializerNotInstalled

from immortus_channels import JobRepository, current_job, get_job, tracked
from immortus_channels.celery import TrackedTask
from immortus_channels.jobs.job import State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.queues.celery.canvas import followers
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter
from immortus_channels.stores.redis import RedisStore
from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site

app = Celery("tests.ids", broker="memory://", set_as_current=False)
NUMBER = uuid.UUID(int=5)
TEXTS = [(NUMBER, str(NUMBER)), (42, "42"), ("text", "text")]


@app.task(shared=False, bind=True, base=TrackedTask)
def counts(self):
    assert current_job().job_id == self.job_id == str(self.request.id)
    assert self.strategy is not None
    for _ in current_job().track("abc"):
        pass


@app.task(shared=False)
@tracked
def takes(_):
    """Takes one thing."""


@app.task(shared=False)
@tracked
def passes_itself_on():
    assert pickle.loads(pickle.dumps(current_job())).id == current_job().id


app.finalize()


# With a worker


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), **redis_options(redis_server.url, store=True)) as site:
        site.start_worker()
        yield site


def cancel(site: Site, job_id: str) -> int:
    """Ask as the page would, with the token that it was given."""
    page = site.http.get("/page").text
    token = page.split('data-csrf-token="')[1].split('"')[0]
    return site.http.post(f"/immortus/cancel/{job_id}", headers={"X-CSRFToken": token}).status_code


@pytest.mark.redis
def test_a_uuid_and_a_number_are_followed_and_no_neighbour_is_harmed(site: Site, redis_server: RedisServer) -> None:
    tags = site.http.post("/start-under-any-id/steps?countdown=3").json()
    assert len(tags) == 3
    reading = RedisStore(redis_server.url).get_many(list(tags))
    for job_id, tag in tags.items():
        assert f'job-id="{job_id}"' in tag
        job = reading.jobs[job_id]
        assert (job.state, job.job_class) == (State.ENQUEUED, "tests.project.shop.tasks.steps")
        assert site.verify(job_id)["state"] == "enqueued"
    for job_id in tags:
        assert site.wait_until_over(job_id)["state"] == "finished"
        assert site.verify(job_id)["current"] == 5


@pytest.mark.redis
@pytest.mark.fault("E7")
def test_what_waits_beside_a_strange_id_is_known_to_be_sent(site: Site, redis_server: RedisServer) -> None:
    tags = site.http.post("/start-under-any-id/quick?countdown=600").json()
    store = RedisStore(redis_server.url)
    for job_id in tags:
        reading = store.get_many([job_id])
        lease = reading.jobs[job_id].lease_until
        assert lease is not None
        assert lease - reading.now > 3600 * SECOND
        assert cancel(site, job_id) == 202
        assert site.verify(job_id)["state"] == "cancelled"


@pytest.mark.redis
def test_a_job_sent_under_any_id_is_retried_and_can_be_terminated(site: Site) -> None:
    for job_id in site.http.post("/start-under-any-id/retries?countdown=0").json():
        document = site.wait_until_over(job_id)
        assert (document["state"], document["attempt"]) == ("finished", 3)
    jobs = list(site.http.post("/start-under-any-id/terminable?countdown=0").json())
    running = site.wait_for(jobs[0], "running") and site.wait_for(jobs[1], "running")
    assert running["attempt"] == 1
    for job_id in jobs:
        assert cancel(site, job_id) == 202
    for job_id in jobs:
        assert site.wait_until_over(job_id)["state"] == "cancelled"


# In this process


@pytest.fixture
def memory(settings):
    """A store in memory, for tasks of the app above."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    before = getattr(_state._tls, "current_app", None)
    app.set_current()
    yield get_store()
    _state._tls.current_app = before


@pytest.mark.parametrize(("given", "text"), TEXTS)
def test_a_run_is_followed_under_its_id_as_text(memory, given, text):
    counts.apply(task_id=given)
    job = get_job(given)
    assert (job.id, job.state, job.document["current"]) == (text, State.FINISHED, 3)


@pytest.mark.fault("E7")
@pytest.mark.parametrize("given", [b"bytes", 1.5, ("a",), True, "x" * 300, "a\0b"], ids=repr)
def test_a_task_whose_id_can_be_no_job_s_runs_untracked_and_says_so(memory, given, caplog):
    caplog.clear()
    assert takes.apply((1,), task_id=given).successful()
    assert memory.list(Filter()) == []
    assert "cannot be tracked" in caplog.text


def test_a_job_that_is_over_is_not_run_under_a_uuid_either(memory):
    JobRepository().create(id=NUMBER).cancel()
    assert counts.apply(task_id=NUMBER).state == "IGNORED"
    assert get_job(NUMBER).state is State.CANCELLED


def test_members_of_a_chain_have_their_ids_as_text():
    member = {"task": "t", "options": {"task_id": NUMBER}}
    assert [job_id for _, job_id, _ in followers([member], None)] == [str(NUMBER)]
    assert list(followers([{"task": "t", "options": {"task_id": b"x"}}], None)) == []


# A job as an argument


def test_a_job_cannot_be_an_argument_and_the_cure_is_said(memory):
    counts.apply(task_id="j")
    with pytest.raises(
        EncodeError, match=r"JobHandle 'j' .* cannot be sent; give the job's id, job\.id, .* get_job\(id\)"
    ):
        takes.delay(get_job("j"))


# What cannot be sent


@pytest.mark.parametrize("how", [{"args": (object(),)}, {"args": (1,), "serializer": "of nobody"}], ids=list)
def test_a_message_that_cannot_be_serialized_is_told_not_sent_at_once(memory, how):
    with pytest.raises((EncodeError, SerializerNotInstalled)):
        takes.apply_async(**how, task_id="j")
    assert (get_job("j").state, get_job("j").document["error"]["code"]) == (State.FAILED, "not_sent")
    takes.apply_async((1,), task_id="j")
    assert (get_job("j").state, get_job("j").attempt) == (State.ENQUEUED, 2)


def test_a_second_message_that_cannot_be_serialized_leaves_the_first(memory):
    takes.apply_async((1,), task_id="j")
    with pytest.raises(EncodeError):
        takes.apply_async((object(),), task_id="j")
    assert get_job("j").state is State.ENQUEUED


def test_an_error_after_the_broker_has_the_message_does_not_end_the_job(memory, monkeypatch):
    def break_off(self, *_, **__):
        raise EncodeError

    monkeypatch.setattr(EventDispatcher, "publish", break_off)
    app.conf.task_send_sent_event = True
    with pytest.raises(EncodeError):
        takes.apply_async((1,), task_id="j")
    app.conf.task_send_sent_event = False
    assert get_job("j").state is State.ENQUEUED


def test_tests_may_replace_apply_async_for_all_tasks(memory, monkeypatch):
    monkeypatch.setattr(Task, "apply_async", lambda self, *args, **_: ("replaced", self.name, args))
    assert takes.delay(1) == ("replaced", takes.name, ((1,), {}))


def test_where_arguments_are_pickled_a_job_is_sent_by_its_id(memory):
    assert passes_itself_on.apply(task_id="j").successful()
