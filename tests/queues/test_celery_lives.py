"""Whose a job is, and of which task, through retries, second sendings and handed-on headers, with a real worker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery

from tests.servers import RedisServer
from tests.site import Site, eventually, redis_options, running_site

pytestmark = [pytest.mark.redis, pytest.mark.fault("W7"), pytest.mark.slow]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}9"}
    with running_site(tmp_path_factory.mktemp("site"), **options) as site:
        site.start_worker()
        yield site


@pytest.fixture
def job_id() -> str:
    return uuid.uuid4().hex


@contextmanager
def logged_in(site: Site, name: str | None) -> Iterator[None]:
    """As a user, or as a visitor."""
    site.http.cookies.clear()
    if name:
        site.http.get(f"/log-in/{name}")
    yield
    site.http.cookies.clear()


def seen_by(site: Site, name: str | None, job_id: str) -> str:
    """The state of the job as this user is told it, or the error."""
    with logged_in(site, name):
        told = site.verify(job_id)
    return told.get("state") or told["error"]["code"]


def state_seen_by(site: Site, name: str, job_id: str) -> str:
    """The state, once the job is over."""
    with logged_in(site, name):
        return site.wait_until_over(job_id)["state"]


@pytest.mark.parametrize("task", ["retries_with_headers", "hands_its_headers_on"])
def test_a_job_that_a_job_starts_belongs_to_its_owner_with_any_headers(site: Site, job_id: str, task: str) -> None:
    with logged_in(site, "ada"):
        first = site.start(task, kwargs={"task_id": job_id})
        eventually(lambda: "state" in site.verify(job_id), within=10)
        site.wait_until_over(first)
        document = site.wait_until_over(job_id)
    assert (document["state"], document["job_class"]) == ("finished", "tests.project.shop.tasks.quick")
    assert [seen_by(site, name, job_id) for name in ("bob", None)] == ["unknown_job"] * 2


@pytest.mark.parametrize("retries", [1, 7])
def test_a_first_sending_may_name_any_number_of_retries(site: Site, retries: int) -> None:
    with logged_in(site, "ada"):
        job_id = site.start("quick", retries=retries, countdown=1)
        assert site.verify(job_id)["state"] == "enqueued"
        document = site.wait_until_over(job_id)
    assert (document["state"], document["attempt"]) == ("finished", 1)
    assert seen_by(site, "bob", job_id) == "unknown_job"


def test_a_first_sending_that_names_retries_is_tried_again_as_any_other(site: Site) -> None:
    with logged_in(site, "ada"):
        document = site.wait_until_over(site.start("retries", retries=1, kwargs={"times": 3}))
    assert (document["state"], document["attempt"]) == ("finished", 3)


def test_a_job_sent_again_after_its_end_belongs_to_its_new_sender_and_task(site: Site, job_id: str) -> None:
    with logged_in(site, "ada"):
        site.start("quick", task_id=job_id, kwargs={"value": "a secret"})
        assert site.wait_until_over(job_id)["last"] == "a secret"
    with logged_in(site, "bob"):
        site.start("steps", task_id=job_id, kwargs={"count": 5})
        document = site.wait_for(job_id, "running")
        assert (document["job_class"], document["attempt"]) == ("tests.project.shop.tasks.steps", 2)
        assert "last" not in document
        assert site.wait_until_over(job_id)["state"] == "finished"
    assert [seen_by(site, name, job_id) for name in ("ada", None)] == ["unknown_job"] * 2


@pytest.mark.parametrize("end", ["complete", "fail"])
@pytest.mark.parametrize("sender", ["ada", "bob"])
def test_what_is_sent_under_the_id_of_an_ended_job_by_hand_is_a_new_job(
    site: Site, job_id: str, end: str, sender: str
) -> None:
    with logged_in(site, "ada"):
        site.http.post(f"/make/{job_id}?end={end}")
        assert site.wait_until_over(job_id)["attempt"] == 1
    with logged_in(site, sender):
        site.start("quick", task_id=job_id, kwargs={"value": "a secret"})
        eventually(lambda: site.verify(job_id).get("attempt") == 2, within=10)
        document = site.wait_until_over(job_id)
    assert (document["state"], document["attempt"], document["last"]) == ("finished", 2, "a secret")
    other = "bob" if sender == "ada" else "ada"
    assert [seen_by(site, name, job_id) for name in (other, None)] == ["unknown_job"] * 2


def test_a_job_made_by_hand_takes_no_part_in_what_another_user_sends(site: Site, job_id: str) -> None:
    with logged_in(site, "ada"):
        site.http.post(f"/make/{job_id}")
        before = site.verify(job_id)
    with logged_in(site, "bob"):
        site.start("starts_another", task_id=job_id, kwargs={"task_id": f"{job_id}-child"})
        assert site.verify(job_id)["error"]["code"] == "unknown_job"
        assert site.wait_until_over(f"{job_id}-child")["state"] == "finished", "the task was run"
    with logged_in(site, "ada"):
        assert site.verify(job_id) == before
        site.start("quick", task_id=job_id, kwargs={"value": "hers"})
        document = site.wait_until_over(job_id)
    assert (document["attempt"], document["last"]) == (1, "hers")
    assert seen_by(site, "bob", job_id) == "unknown_job"


def test_a_job_that_is_not_over_and_is_sent_again_stays_its_first_senders(site: Site, job_id: str) -> None:
    with logged_in(site, "ada"):
        site.start("steps", task_id=job_id, kwargs={"count": 5})
        site.wait_for(job_id, "running")
    with logged_in(site, "bob"):
        site.start("starts_another", task_id=job_id, kwargs={"task_id": f"{job_id}-child"})
        assert site.verify(job_id)["error"]["code"] == "unknown_job"
    assert state_seen_by(site, "ada", job_id) == "finished"
    assert state_seen_by(site, "ada", f"{job_id}-child") == "finished"
    time.sleep(0.5)
    assert seen_by(site, "bob", job_id) == "unknown_job"


def test_a_waiting_job_that_another_sends_again_stays_its_first_sender_s(site: Site, job_id: str) -> None:
    with logged_in(site, "ada"):
        site.start("quick", task_id=job_id, countdown=2)
    with logged_in(site, "bob"):
        site.start("quick", task_id=job_id, countdown=3)
        assert site.verify(job_id)["error"]["code"] == "unknown_job"
    assert state_seen_by(site, "ada", job_id) == "finished"
    time.sleep(2)
    assert [seen_by(site, name, job_id) for name in ("ada", "bob")] == ["finished", "unknown_job"]


def test_a_second_message_of_an_unknown_task_does_not_end_the_job(site: Site, job_id: str) -> None:
    site.start("steps", task_id=job_id, countdown=1, kwargs={"count": 10})
    with Celery("elsewhere", broker=site.env["BROKER_URL"], set_as_current=False) as elsewhere:
        elsewhere.send_task("of.nobody", task_id=job_id)
        time.sleep(0.7)
        assert site.verify(job_id)["state"] == "enqueued"
        site.wait_for(job_id, "running")
        elsewhere.send_task("of.nobody", task_id=job_id)
    assert site.wait_until_over(job_id)["state"] == "finished"


def test_a_second_message_that_expires_elsewhere_ends_no_waiting_job(site: Site, job_id: str) -> None:
    site.start_worker("-Q", "other", "-n", "other@%h")
    site.start("quick", task_id=job_id, countdown=4)
    time.sleep(0.5)  # the broker has it
    site.start("quick", task_id=job_id, countdown=0.5, expires=0.1, queue="other")
    time.sleep(1.5)
    assert site.verify(job_id)["state"] == "enqueued"
    assert site.wait_until_over(job_id)["state"] == "finished"


def test_a_job_cancelled_between_the_links_that_replace_it_stays_cancelled(site: Site) -> None:
    with logged_in(site, "ada"):
        job_id = site.start("replaces_itself", kwargs={"by": "slow chain"})
        eventually(lambda: is_given_back(site.verify(job_id)), within=10)
        token = site.http.get("/page").text.split('data-csrf-token="')[1].split('"')[0]
        answer = site.http.post(f"/immortus/cancel/{job_id}", headers={"X-CSRFToken": token})
        assert answer.json()["state"] == "cancelled"
        time.sleep(2.5)
        assert site.verify(job_id) == answer.json()


def is_given_back(document: dict[str, object]) -> bool:
    """Whether the job has run, and waits for what it gave way to."""
    return document["state"] == "enqueued" and document["started_at"] is not None
