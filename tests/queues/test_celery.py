"""Every outcome a Celery job can have, with a real worker, as a viewer sees it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.servers import RedisServer, free_port
from tests.site import Site, eventually, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    options = redis_options(redis_server.url) | {"RESULT_BACKEND": f"{redis_server.url[:-1]}1"}
    with running_site(tmp_path_factory.mktemp("site"), **options) as site:
        site.start_worker()
        yield site


OUTCOMES = [
    # task, state, error code, attempt
    ("quick", "finished", None, 1),
    ("steps", "finished", None, 1),
    ("ignores", "finished", None, 1),
    ("catches_its_own", "finished", None, 1),
    ("fails", "failed", "not_an_image", 1),
    ("crashes", "failed", "error", 1),
    ("retries", "finished", None, 3),
    ("auto_retries", "finished", None, 3),
    ("exhausts", "failed", "error", 2),
    ("rejects", "failed", "rejected", 1),
    ("requeues_once", "finished", None, 2),
    ("requeues_too_late", "failed", "rejected", 1),
    ("soft_limit", "failed", "time_limit", 1),
    ("hard_limit", "failed", "time_limit", 1),
    ("kills_itself", "failed", "worker_lost", 1),
    ("exits", "failed", "worker_lost", 1),
    ("dies_once", "finished", None, 2),
]


@pytest.mark.case(3)
@pytest.mark.parametrize(("task", "state", "code", "attempt"), OUTCOMES)
def test_each_outcome_ends_in_the_state_the_protocol_names(
    site: Site, task: str, state: str, code: str | None, attempt: int
) -> None:
    job_id = site.start(task)
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
    document = watcher.documents[job_id][-1]
    assert (document["state"], document["attempt"]) == (state, attempt)
    assert (document["error"] or {}).get("code") == code
    assert document == site.verify(job_id)
    versions = [seen["version"] for seen in watcher.documents[job_id]]
    assert versions == sorted(set(versions))


@pytest.mark.case(2, 55)
def test_an_exception_s_text_never_reaches_a_viewer(site: Site) -> None:
    job_id = site.start("crashes")
    assert site.wait_until_over(job_id)["error"]["message"] == "Something went wrong."
    assert "secret" not in site.http.get(f"/immortus/verify/{job_id}").text


@pytest.mark.case(2)
def test_a_failure_still_reaches_the_queue_s_own_result_backend(site: Site, redis_server: RedisServer) -> None:
    job_id = site.start("crashes")
    site.wait_until_over(job_id)
    with Redis.from_url(f"{redis_server.url[:-1]}1") as backend:
        result = json.loads(eventually(lambda: backend.get(f"celery-task-meta-{job_id}"), within=5))
    assert (result["status"], result["result"]["exc_type"]) == ("FAILURE", "RuntimeError")
    assert result["result"]["exc_message"] == ["a secret nobody may see"]


@pytest.mark.case(10)
def test_a_failure_keeps_its_last_progress(site: Site) -> None:
    document = site.wait_until_over(site.start("hard_limit"))
    assert (document["current"], document["percentage"]) == (1, 25.0)


@pytest.mark.case(4)
def test_a_retry_is_shown_and_starts_its_progress_again(site: Site) -> None:
    job_id = site.start("retries")
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
    assert "retrying" in watcher.states(job_id)
    assert any(d["attempt"] == 2 and d["state"] == "running" for d in watcher.documents[job_id])


@pytest.mark.case(3)
@pytest.mark.parametrize(("task", "states"), [("retries", ["finished"]), ("exhausts", ["failed"])])
def test_however_often_a_job_is_tried_it_ends_once(site: Site, task: str, states: list[str]) -> None:
    job_id = site.start(task)
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
        watcher.watch(job_id)
        with pytest.raises(TimeoutError):
            watcher.until_over("another", within=1)
    ends = [document for document in watcher.documents[job_id] if document["finished_at"]]
    assert [document["state"] for document in ends] == states * len(ends)
    assert len({document["version"] for document in ends}) == 1


@pytest.mark.case(37)
def test_ten_thousand_updates_are_few_messages_and_the_last_one_counts(site: Site) -> None:
    job_id = site.start("floods")
    began = time.monotonic()
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
    *before, end = watcher.documents[job_id]
    assert (end["state"], end["current"], end["last"]) == ("finished", 10_000, 10_000)
    assert len(before) <= 5 * (time.monotonic() - began) + 5


def test_progress_is_pushed_while_the_job_runs(site: Site) -> None:
    job_id = site.start("steps", kwargs={"count": 10, "pause": 0.25})
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
    shown = [document["percentage"] for document in watcher.documents[job_id] if document["total"]]
    assert len(set(shown)) >= 8
    assert shown == sorted(shown)
    assert watcher.documents[job_id][-2]["message"] == "Counting"


def test_threads_of_a_task_advance_exactly(site: Site) -> None:
    document = site.wait_until_over(site.start("from_threads"))
    assert (document["current"], document["total"]) == (4000, 4000)


def test_the_strategy_of_the_first_requirement_works_as_written(site: Site) -> None:
    job_id = site.start("own_table", kwargs={"pause": 0.3})
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
    shown = [document["percentage"] for document in watcher.documents[job_id]]
    assert {20, 40, 60, 80, 100} <= set(shown)


@pytest.mark.case(54)
def test_an_untracked_task_leaves_no_trace(site: Site) -> None:
    for task in ("untracked", "untracked_crash"):
        answer = site.http.post(f"/start/{task}", json={"task_id": f"left-alone-{task}"})
        assert answer.status_code == 500
        time.sleep(0.5)
        assert site.http.get(f"/immortus/verify/left-alone-{task}").status_code == 404


def test_an_id_given_by_hand_is_the_job_s(site: Site) -> None:
    assert site.start("quick", task_id="by:hand@1") == "by:hand@1"
    assert site.wait_until_over("by:hand@1")["state"] == "finished"


def test_a_job_that_waits_for_its_eta_is_enqueued_until_then(site: Site) -> None:
    job_id = site.start("quick", countdown=1.5)
    time.sleep(0.7)
    assert site.verify(job_id)["state"] == "enqueued"
    assert site.wait_until_over(job_id)["state"] == "finished"


@pytest.mark.case(53)
def test_a_job_that_expires_is_cancelled(site: Site) -> None:
    blockers = [site.start("sleeper", kwargs={"seconds": 2}) for _ in range(2)]
    job_id = site.start("quick", expires=0.5)
    document = site.wait_until_over(job_id)
    assert (document["state"], document["error"]["code"]) == ("cancelled", "expired")
    for blocker in blockers:
        site.wait_until_over(blocker)


def test_a_result_is_usable_before_the_transaction_commits(site: Site) -> None:
    job_id = site.http.post("/start-on-commit").json()["job_id"]
    assert site.wait_until_over(job_id)["state"] == "finished"


def test_delay_works_in_an_async_view(site: Site) -> None:
    for task in ("quick", "own_table"):
        job_id = site.http.post(f"/start-async/{task}").json()["job_id"]
        assert site.wait_until_over(job_id)["state"] == "finished"


# Cancelling


def cancel(site: Site, job_id: str) -> int:
    page = site.http.get("/page")
    token = page.text.split('data-csrf-token="')[1].split('"')[0]
    return site.http.post(f"/immortus/cancel/{job_id}", headers={"X-CSRFToken": token}).status_code


@pytest.mark.case(42)
def test_a_running_job_ends_at_its_next_checkpoint_once_cancelled(site: Site) -> None:
    job_id = site.start("steps", kwargs={"count": 100, "pause": 0.1})
    eventually(lambda: site.verify(job_id)["current"] > 2, within=5)
    assert cancel(site, job_id) == 202
    document = site.wait_until_over(job_id, within=7)
    assert (document["state"], document["cancel_requested"]) == ("cancelled", True)
    assert document["current"] < 99


def test_a_waiting_job_that_was_ended_by_hand_does_not_run(site: Site) -> None:
    by_hand = (
        "from immortus_channels import get_job; from tests.project.shop.tasks import quick\n"
        "job_id = quick.apply_async(kwargs={'value': 'ran'}, countdown=1).id\n"
        "get_job(job_id).fail('no_credit', 'No credit is left.'); print(job_id)"
    )
    job_id = site.manage("shell", "-v", "0", "-c", by_hand).strip()
    other = site.start("quick", countdown=1)
    site.wait_for(other, "finished")
    document = site.verify(job_id)
    assert (document["error"]["code"], document["attempt"], document.get("last")) == ("no_credit", 1, None)


def test_a_running_job_that_wraps_its_cancellation_is_cancelled(site: Site) -> None:
    job_id = site.start("wraps", kwargs={"count": 20})
    eventually(lambda: site.verify(job_id)["current"] > 2, within=5)
    assert cancel(site, job_id) == 202
    document = site.wait_until_over(job_id, within=7)
    assert (document["state"], document["error"]["code"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize(("count", "code"), [(1, "not_an_image"), (100, "time_limit")])
def test_a_job_that_wraps_what_it_meets_fails_by_that(site: Site, count: int, code: str) -> None:
    document = site.wait_until_over(site.start("wraps", kwargs={"count": count}))
    assert (document["state"], document["error"]["code"]) == ("failed", code)


@pytest.mark.case(42)
def test_a_waiting_job_that_is_cancelled_never_runs(site: Site) -> None:
    job_id = site.start("own_table", countdown=2)
    assert cancel(site, job_id) == 202
    assert site.verify(job_id)["state"] == "cancelled"
    time.sleep(3)
    document = site.verify(job_id)
    assert (document["state"], document["started_at"], document["percentage"]) == ("cancelled", None, 0.0)


@pytest.mark.slow
def test_a_job_cancelled_while_no_worker_is_up_never_runs(
    tmp_path: pytest.TempPathFactory, redis_server: RedisServer
) -> None:
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}5"}
    with running_site(tmp_path, **options) as site:
        job_id = site.start("own_table")
        assert cancel(site, job_id) == 202
        site.start_worker()
        marker = site.start("quick")
        assert site.wait_until_over(marker)["state"] == "finished"
        time.sleep(1)
        document = site.verify(job_id)
        assert (document["state"], document["started_at"]) == ("cancelled", None)


@pytest.mark.case(43)
def test_a_task_may_allow_its_process_to_be_ended(site: Site) -> None:
    job_id = site.start("terminable")
    site.wait_for(job_id, "running")
    assert cancel(site, job_id) == 202
    document = site.wait_until_over(job_id)
    assert (document["state"], document["error"]["code"]) == ("cancelled", "cancelled")


def test_a_task_may_refuse_to_be_cancelled(site: Site) -> None:
    job_id = site.start("stubborn")
    assert cancel(site, job_id) == 409
    assert site.wait_until_over(job_id)["state"] == "finished"


# Canvas


def test_every_member_of_a_chain_is_a_job_recorded_when_it_is_sent(site: Site) -> None:
    answer = site.http.post("/canvas/chain").json()
    assert len(answer["members"]) == 3
    assert all("state" in site.verify(member) for member in answer["members"])
    for member in answer["members"]:
        assert site.wait_until_over(member)["state"] == "finished"


def test_what_follows_a_failed_link_is_cancelled_as_upstream(site: Site) -> None:
    first, broken, *rest = site.http.post("/canvas/broken_chain").json()["members"]
    assert site.wait_until_over(first)["state"] == "finished"
    assert site.wait_until_over(broken)["state"] == "failed"
    for member in rest:
        document = site.wait_until_over(member)
        assert (document["state"], document["error"]["code"]) == ("cancelled", "upstream")


def test_the_body_of_a_chord_is_a_job_that_waits_for_its_header(site: Site) -> None:
    body = site.http.post("/canvas/chord").json()["job_id"]
    assert site.verify(body)["state"] in {"enqueued", "running", "finished"}
    assert site.wait_until_over(body)["state"] == "finished"


def test_the_body_of_a_chord_whose_header_failed_is_cancelled_as_upstream(site: Site) -> None:
    body = site.http.post("/canvas/broken_chord").json()["job_id"]
    document = site.wait_until_over(body)
    assert (document["state"], document["error"]["code"]) == ("cancelled", "upstream")
    time.sleep(0.5)
    assert site.verify(body) == document


@pytest.mark.parametrize("by", ["quick", "chord"])
def test_a_task_that_is_replaced_goes_on_as_its_replacement(site: Site, by: str) -> None:
    job_id = site.start("replaces_itself", kwargs={"by": by})
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
        time.sleep(0.7)
    document = site.verify(job_id)
    assert (document["state"], document["attempt"]) == ("finished", 2)
    assert watcher.documents[job_id][-1] == document


@pytest.mark.parametrize(
    "by", ["untracked", "untracked chord", "chain", "group", "retried", "retried with headers", "replaced"]
)
def test_a_task_replaced_by_an_untracked_one_goes_on_as_the_same_job(site: Site, by: str) -> None:
    job_id = site.start("replaces_itself", kwargs={"by": by})
    document = site.wait_until_over(job_id)
    assert (document["state"], document["job_class"]) == ("finished", "tests.project.shop.tasks.replaces_itself")
    assert document["attempt"] > 1
    time.sleep(0.7)
    assert site.verify(job_id) == document


@pytest.mark.parametrize(
    ("by", "end"),
    [
        ("crash", ("failed", "error")),
        ("broken group", ("cancelled", "upstream")),
        ("broken chain", ("cancelled", "upstream")),
        ("tracked and broken", ("cancelled", "upstream")),
        ("time limit", ("failed", "time_limit")),
    ],
)
def test_a_task_that_is_replaced_by_what_fails_untracked_ends_as_badly(
    site: Site, by: str, end: tuple[str, str]
) -> None:
    job_id = site.start("replaces_itself", kwargs={"by": by})
    document = site.wait_until_over(job_id)
    assert (document["state"], document["error"]["code"]) == end
    time.sleep(0.7)
    assert site.verify(job_id) == document


def test_what_follows_a_task_replaced_by_an_untracked_one_runs_after_that(site: Site) -> None:
    first, last = site.http.post("/canvas/replaced_link").json()["members"]
    assert site.wait_until_over(last)["state"] == "finished"
    document = site.verify(first)
    assert (document["state"], document["attempt"]) == ("finished", 2)


def test_cancelling_a_waiting_link_cancels_what_follows_it(site: Site) -> None:
    first, *rest = site.http.post("/canvas/late_chain").json()["members"]
    assert cancel(site, first) == 202
    for member in rest:
        document = site.wait_until_over(member)
        assert (document["state"], document["error"]["code"]) == ("cancelled", "upstream")


@pytest.mark.parametrize(("canvas", "end"), [("ignored_chain", "finished"), ("rejected_chain", "failed")])
def test_what_follows_a_link_that_ignores_itself_is_cancelled_too(site: Site, canvas: str, end: str) -> None:
    first, last = site.http.post(f"/canvas/{canvas}").json()["members"]
    assert site.wait_until_over(first)["state"] == end
    assert site.wait_until_over(last)["error"]["code"] == "upstream"


@pytest.mark.parametrize("canvas", ["two_groups", "chord_of_chains", "group_in_the_middle"])
def test_the_last_job_of_a_failed_canvas_is_known_at_once_and_cancelled(site: Site, canvas: str) -> None:
    last = site.http.post(f"/canvas/{canvas}").json()["job_id"]
    assert site.verify(last)["state"] in {"enqueued", "cancelled"}
    document = site.wait_until_over(last)
    assert (document["state"], document["error"]["code"]) == ("cancelled", "upstream")


@pytest.mark.parametrize("canvas", ["untracked_first", "untracked_header", "untracked_replacement"])
def test_a_job_that_waits_for_untracked_tasks_is_known_at_once(site: Site, canvas: str) -> None:
    answer = site.http.post(f"/canvas/{canvas}").json()
    assert answer["job_class"] in {"tests.project.shop.tasks.link", "tests.project.shop.tasks.gather"}
    assert site.verify(answer["job_id"])["state"] == "enqueued"
    assert site.wait_until_over(answer["job_id"])["state"] == "finished"


@pytest.mark.parametrize("canvas", ["untracked_crash", "untracked_and_too_long", "untracked_and_ignored"])
def test_what_follows_a_failed_untracked_task_is_cancelled_as_upstream(site: Site, canvas: str) -> None:
    last = site.http.post(f"/canvas/{canvas}").json()["job_id"]
    assert site.verify(last)["state"] in {"enqueued", "cancelled"}
    document = site.wait_until_over(last)
    assert (document["state"], document["error"]["code"]) == ("cancelled", "upstream")


def test_a_job_after_an_untracked_task_belongs_to_that_task_s_sender(site: Site) -> None:
    site.http.get("/log-in/ada")
    last = site.http.post("/canvas/untracked_first").json()["job_id"]
    assert site.wait_until_over(last)["state"] == "finished"
    site.http.cookies.clear()
    assert site.verify(last)["error"]["code"] == "unknown_job"


def test_a_later_link_that_is_cancelled_never_runs(site: Site) -> None:
    first, last = site.http.post("/canvas/two_links").json()["members"]
    assert cancel(site, last) == 202
    assert site.wait_until_over(first)["state"] == "finished"
    time.sleep(1)
    document = site.verify(last)
    assert (document["state"], document["started_at"]) == ("cancelled", None)


@pytest.mark.case(3)
def test_a_failure_that_is_retried_is_no_end(site: Site) -> None:
    job_id = site.start("fails_then_recovers")
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id)
    assert watcher.states(job_id)[-1] == "finished"
    assert "failed" not in watcher.states(job_id)


def test_an_argument_that_json_cannot_hold_is_recorded_by_its_kind(site: Site) -> None:
    assert site.wait_until_over(site.start("odd_default"))["state"] == "finished"


# Death


@pytest.fixture
def own_site(tmp_path: Path, redis_server: RedisServer) -> Iterator[Site]:
    """A site whose workers are the test's to end."""
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}12"}
    with running_site(tmp_path, **options) as site:
        yield site


@pytest.mark.case(5)
@pytest.mark.slow
def test_a_worker_told_to_end_finishes_its_job_and_leaves_the_next_one(own_site: Site) -> None:
    worker = own_site.start_worker(concurrency=1)
    running, waiting = (own_site.start("steps", kwargs={"count": 10, "pause": 0.2}) for _ in range(2))
    own_site.wait_for(running, "running")
    os.kill(worker.pid, signal.SIGTERM)
    assert own_site.wait_until_over(running)["state"] == "finished"
    assert own_site.verify(waiting)["state"] == "enqueued"
    own_site.start_worker(concurrency=1)
    document = own_site.wait_until_over(waiting)
    assert (document["state"], document["attempt"]) == ("finished", 1)


@pytest.mark.case(5)
@pytest.mark.slow
def test_an_interrupted_worker_gives_its_job_back_without_failing_it(own_site: Site) -> None:
    worker = own_site.start_worker(concurrency=1)
    job_id = own_site.start("late")
    own_site.wait_for(job_id, "running")
    with SocketWatcher(own_site.websocket_url, job_id) as watcher:
        os.kill(worker.pid, signal.SIGQUIT)
        own_site.start_worker(concurrency=1)
        watcher.until_over(job_id)
    end = watcher.documents[job_id][-1]
    assert (end["state"], end["attempt"]) == ("finished", 2)
    assert not {"failed", "lost", "cancelled"} & set(watcher.states(job_id))


@pytest.mark.case(53)
def test_a_waiting_job_an_operator_revokes_is_cancelled_and_never_starts(site: Site) -> None:
    job_id = site.start("quick", countdown=2)
    with Celery("operator", broker=site.env["BROKER_URL"], set_as_current=False) as operator:
        operator.control.revoke(job_id)
    document = site.wait_until_over(job_id)
    assert (document["state"], document["error"]["code"]) == ("cancelled", "cancelled")
    assert (document["started_at"], document["attempt"]) == (None, 1)


@pytest.mark.case(7)
@pytest.mark.slow
def test_a_message_that_cannot_be_sent_is_an_error_and_later_a_failed_job(
    tmp_path: Path,
) -> None:
    with running_site(tmp_path, BROKER_URL=f"redis://127.0.0.1:{free_port()}/0") as site:
        answer = site.http.post("/start/quick", json={"task_id": "unsent"})
        assert (answer.status_code, site.verify("unsent")["state"]) == (500, "enqueued")
        minute_later = (
            "from immortus_channels.models import JobRecord; from immortus_channels.stores import get_store; "
            "JobRecord.objects.using(get_store().using).update(lease_until=1)"
        )
        site.manage("shell", "-c", minute_later)
        document = site.verify("unsent")
        assert (document["state"], document["error"]["code"]) == ("failed", "not_sent")


@pytest.mark.case(5)
@pytest.mark.slow
def test_a_whole_worker_that_is_killed_is_told_as_stalled_then_lost(
    tmp_path: pytest.TempPathFactory, redis_server: RedisServer
) -> None:
    options = redis_options(redis_server.url) | {
        "BROKER_URL": f"{redis_server.url[:-1]}6",
        "SETTINGS": '{"IMMORTUS_STALLED_AFTER": 3, "IMMORTUS_LOST_AFTER": 8, "IMMORTUS_RECHECK_INTERVAL": 1}',
    }
    with running_site(tmp_path, **options) as site:
        worker = site.start_worker()
        job_id = site.start("sleeper")
        with SocketWatcher(site.websocket_url, job_id) as watcher:
            site.wait_for(job_id, "running")
            worker.kill()
            watcher.until_over(job_id, within=20)
        assert watcher.documents[job_id][-1]["error"]["code"] == "lost"
        assert any(document["stalled"] for document in watcher.documents[job_id])


@pytest.mark.case(5)
@pytest.mark.slow
def test_a_frozen_worker_revives_its_lost_job_when_it_thaws(
    tmp_path: pytest.TempPathFactory, redis_server: RedisServer
) -> None:
    # A process that is frozen in the middle of a transaction keeps its locks: Redis has none.
    options = redis_options(redis_server.url, store=True) | {
        "BROKER_URL": f"{redis_server.url[:-1]}7",
        "SETTINGS": '{"IMMORTUS_STALLED_AFTER": 2, "IMMORTUS_LOST_AFTER": 4, "IMMORTUS_RECHECK_INTERVAL": 1}',
    }
    with running_site(tmp_path, **options) as site:
        worker = site.start_worker()
        job_id = site.start("steps", kwargs={"count": 40, "pause": 0.1})
        site.wait_for(job_id, "running")
        worker.signal_all(signal.SIGSTOP)
        try:
            site.wait_for(job_id, "lost", within=15)
        finally:
            worker.signal_all(signal.SIGCONT)
        assert site.wait_for(job_id, "finished", within=15)["percentage"] == 100.0
