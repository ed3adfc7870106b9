"""Ends of which Celery says little, something else, or nothing, with a real worker; which release says what.

Each of these holds with Celery 5.6.3 and with 5.7: where the two tell different things, what a viewer sees is the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import celery
import pytest
from celery import Celery

from tests.servers import RedisServer
from tests.site import Site, eventually, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    options = redis_options(f"{redis_server.url[:-1]}8") | {"RESULT_BACKEND": f"{redis_server.url[:-1]}9"}
    with running_site(tmp_path_factory.mktemp("site"), **options) as site:
        site.start_worker()
        yield site


def end_of(site: Site, task: str, **kwargs: object) -> tuple[str, str | None, int]:
    document = site.wait_until_over(site.start(task, kwargs=kwargs))
    return document["state"], (document["error"] or {}).get("code"), document["attempt"]


# What a task writes down itself, before it raises Ignore


@pytest.mark.parametrize("by", ["update_state", "task_id", "current_task", "store_result"])
@pytest.mark.parametrize(
    ("state", "end"),
    [
        ("FAILURE", ("failed", "error", 1)),
        ("REVOKED", ("cancelled", "cancelled", 1)),
        ("SUCCESS", ("finished", None, 1)),
        ("PROGRESS", ("finished", None, 1)),
        ("FAILURE SUCCESS", ("finished", None, 1)),
        ("PROGRESS FAILURE", ("failed", "error", 1)),
    ],
)
def test_what_a_task_writes_down_before_it_is_ignored_decides(
    site: Site, by: str, state: str, end: tuple[str, str | None, int]
) -> None:
    assert end_of(site, "writes_and_ignores", state=state, by=by) == end


def test_a_failure_that_is_marked_in_the_backend_itself_decides(site: Site) -> None:
    assert end_of(site, "writes_and_ignores", state="FAILURE", by="mark_as_failure") == ("failed", "error", 1)


@pytest.mark.parametrize("written", [{}, {"state": "FAILURE", "by": "another"}])
def test_where_nothing_is_written_of_the_task_itself_it_is_finished(site: Site, written: dict[str, str]) -> None:
    assert end_of(site, "writes_and_ignores", **written) == ("finished", None, 1)


def test_what_an_earlier_attempt_wrote_decides_nothing(site: Site) -> None:
    assert end_of(site, "ignores_the_second_time") == ("finished", None, 2)


def test_what_is_written_before_a_return_is_written_over(site: Site) -> None:
    assert end_of(site, "writes_and_returns") == ("finished", None, 1)


def test_a_task_that_sends_a_retry_and_says_so_is_retrying_until_it_runs(site: Site) -> None:
    job_id = site.start("writes_and_ignores", kwargs={"state": "RETRY", "countdown": 2})
    assert site.wait_for(job_id, "retrying")["error"] is None
    document = site.wait_until_over(job_id)
    assert (document["state"], document["attempt"]) == ("finished", 2)


def test_a_task_that_says_retry_but_sends_none_is_lost_a_minute_later(site: Site) -> None:
    job_id = site.start("writes_and_ignores", kwargs={"state": "RETRY"})
    site.wait_for(job_id, "retrying")
    lease = "from immortus_channels.models import JobRecord as J; from immortus_channels.stores import get_store; "
    shell = f"{lease} j = J.objects.using(get_store().using).get(job_id={job_id!r}); print(j.lease_until - j.version)"
    assert 59_000_000 < int(site.manage("shell", "-v", "0", "-c", shell)) <= 60_000_000


@pytest.mark.slow
def test_what_follows_an_untracked_task_that_calls_itself_retried_waits(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    options = {"RESULT_BACKEND": f"{redis_server.url[:-1]}9", "BROKER_URL": f"{redis_server.url[:-1]}10"}
    with running_site(tmp_path, **options) as site:
        site.start_worker(concurrency=1)  # the first task of its process
        first, last = site.http.post("/canvas/untracked_and_called_retried").json()["members"]
        backend = Celery("looks", backend=options["RESULT_BACKEND"], set_as_current=False).backend
        eventually(lambda: backend.get_state(first) == "RETRY", within=20)
        time.sleep(1)
        assert site.verify(last)["state"] == "enqueued"


# What is no Exception


LEFT = ["exit", "good exit", "exit with text", "interrupt", "cancelled", "cancelled loop", "generator", "own"]


@pytest.mark.parametrize("by", LEFT)
def test_a_task_that_raises_what_is_no_exception_has_failed(site: Site, by: str) -> None:
    state, code, attempt = end_of(site, "leaves", by=by)
    assert (state, attempt) == ("failed", 1)
    assert code == ("worker_lost" if "exit" in by or by == "interrupt" else "error")


def test_a_process_that_exits_and_whose_message_goes_back_has_not_failed(site: Site) -> None:
    if celery.VERSION < (5, 7):  # it acknowledges what exits, and never runs it again
        assert end_of(site, "exits_once_and_is_sent_again") == ("failed", "worker_lost", 1)
    else:
        assert end_of(site, "exits_once_and_is_sent_again") == ("finished", None, 2)


# What is stored before the end is told


def test_work_that_is_done_stays_done_whatever_on_success_raises(site: Site) -> None:
    document = site.wait_until_over(site.start("done_before", kwargs={"then": "raise"}))
    assert (document["state"], document["result"], document["then"]) == ("finished", {"done": True}, "raise")
    time.sleep(0.5)
    assert site.verify(document["job_id"]) == document


def test_work_that_is_done_stays_done_whatever_after_return_raises(site: Site) -> None:
    assert end_of(site, "untidy") == ("finished", None, 1)


def test_work_that_is_done_stays_done_when_on_success_exits(site: Site) -> None:
    assert end_of(site, "done_before", then="exit") == ("finished", None, 1)


# Time limits


def test_a_time_limit_whose_message_goes_back_is_no_end(site: Site, tmp_path: Path) -> None:
    job_id = site.start("in_time_the_second_time", kwargs={"once": str(tmp_path / "once")})
    with SocketWatcher(site.websocket_url, job_id) as watcher:
        watcher.until_over(job_id, within=20)
    end = watcher.documents[job_id][-1]
    assert (end["state"], end["attempt"]) == ("finished", 2)
    assert not {"failed", "lost", "cancelled"} & set(watcher.states(job_id))


def revoke(site: Site, job_id: str, signal: str = "SIGUSR1") -> None:
    with Celery("operator", broker=site.env["BROKER_URL"], set_as_current=False) as operator:
        operator.control.revoke(job_id, terminate=True, signal=signal)


@pytest.mark.parametrize("round_", range(5))
@pytest.mark.parametrize("options", [{}, {"soft_time_limit": 30}, {"soft_time_limit": 10}])
@pytest.mark.parametrize(("task", "then"), [("limited", "raise"), ("limited", "wrap"), ("limited_and_retried", None)])
def test_a_job_that_is_revoked_by_the_signal_of_time_limits_is_cancelled(
    site: Site, task: str, then: str | None, options: dict[str, int], round_: int
) -> None:
    job_id = site.start(task, kwargs={"then": then} if then else {}, **options)
    site.wait_for(job_id, "running")
    revoke(site, job_id)
    document = site.wait_for(job_id, "cancelled", "failed", "finished", "lost")
    assert (document["state"], document["error"]["code"]) == ("cancelled", "cancelled"), round_


@pytest.mark.slow
def test_a_job_whose_process_dies_after_an_earlier_revocation_has_failed(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Celery calls the second job revoked, too, though nobody asked for that."""
    with running_site(tmp_path, **redis_options(f"{redis_server.url[:-1]}11")) as site:
        site.start_worker(concurrency=1)
        revoked = site.start("limited")
        site.wait_for(revoked, "running")
        revoke(site, revoked)
        assert site.wait_until_over(revoked)["state"] == "cancelled"
        document = site.wait_until_over(site.start("kills_itself"))
        assert (document["state"], document["error"]["code"]) == ("failed", "worker_lost")


@pytest.mark.parametrize("then", ["raise", "wrap"])
def test_a_soft_time_limit_that_is_due_is_told_as_one(site: Site, then: str) -> None:
    job_id = site.start("limited", kwargs={"then": then}, soft_time_limit=1)
    document = site.wait_until_over(job_id)
    assert (document["state"], document["error"]["code"]) == ("failed", "time_limit")


@pytest.mark.parametrize("of_worker", [("--soft-time-limit", "1"), ()])
@pytest.mark.slow
def test_a_soft_time_limit_of_the_worker_or_the_settings_is_told_as_one(
    tmp_path: Path, redis_server: RedisServer, of_worker: tuple[str, ...]
) -> None:
    options = redis_options(f"{redis_server.url[:-1]}11")
    if not of_worker:
        options["SETTINGS"] = json.dumps({"CELERY_TASK_SOFT_TIME_LIMIT": 1})
    with running_site(tmp_path, **options) as site:
        site.start_worker(*of_worker)
        assert end_of(site, "limited") == ("failed", "time_limit", 1)


def test_what_a_task_raises_itself_is_its_own_word_and_no_cancellation(site: Site) -> None:
    assert end_of(site, "says_it_took_too_long") == ("failed", "time_limit", 1)
