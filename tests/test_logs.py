"""Trouble: logged when it begins and when it ends, and not tried again and again."""

from __future__ import annotations

import logging

import pytest

from immortus_channels import logs
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.http import views
from immortus_channels.logs import SILENCE, Trouble, quiet
from immortus_channels.push.breaker import Breaker
from immortus_channels.urls import immortus_jobs
from tests.pages import Process
from tests.toys import FlakyStore

logger = logging.getLogger("immortus_channels")
urlpatterns = [*immortus_jobs()]


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""

    class Clock:
        now = 1_000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    return clock


def test_the_breaker_lets_one_try_through_after_its_rest():
    breaker = Breaker()
    for _ in range(Breaker.FAILURES - 1):
        breaker.note_failure(0.0, slowly=False)
    assert breaker.allows(0.0)
    breaker.note_failure(0.0, slowly=False)
    assert not breaker.allows(Breaker.REST - 0.1)
    assert breaker.allows(Breaker.REST)
    breaker.note_failure(Breaker.REST, slowly=False)
    assert not breaker.allows(Breaker.REST + 0.1), "half open: one failure is enough"
    breaker.note_success()
    breaker.note_failure(9.0, slowly=False)
    assert breaker.allows(9.0)
    breaker.note_failure(9.0, slowly=True)
    assert not breaker.allows(9.1)


def test_trouble_is_logged_when_it_begins_and_when_it_ends(caplog):
    trouble = Trouble("Listening", "Polling goes on.")
    trouble.end()
    for _ in range(3):
        trouble.begin(ConnectionError("refused"))
    for _ in range(3):
        trouble.end()
    assert caplog.messages == ["Listening fails (ConnectionError: refused). Polling goes on.", "Listening works again."]


def test_what_fails_and_works_by_turns_is_told_once_a_minute(clock, caplog):
    flapping = Trouble("Sending", "Polling goes on.")
    for second in range(600):
        clock.now = 1_000.0 + second
        flapping.begin(ConnectionError("refused")) if second % 2 else flapping.end()
    assert len(caplog.messages) <= 2 * 600 / SILENCE + 2


def test_what_began_quietly_and_stays_is_told_after_all(clock, caplog):
    staying = Trouble("Sending", "Polling goes on.")
    staying.begin(OSError())
    staying.end()
    for second in range(90):
        clock.now = 1_001.0 + second
        staying.begin(OSError("refused"))
    assert [message.split(" (")[0] for message in caplog.messages] == [
        "Sending fails",
        "Sending works again.",
        "Sending fails",
    ]
    assert caplog.records[-1].failures > 50


def test_a_record_tells_machines_what_its_text_tells_people(caplog):
    sending = Trouble("Sending", "Polling goes on.")
    sending.begin(ConnectionError("refused"))
    sending.begin(ConnectionError("refused"))
    sending.end()
    began, ended = caplog.records
    assert (began.trouble, began.error, began.failures) == ("Sending", "ConnectionError", 1)
    assert (ended.trouble, ended.failures) == ("Sending", 2)


def complain(job_id, error=None, *about):
    logger.error("The state of %r is not available", job_id, *about, exc_info=error, extra={"job_id": job_id})


def test_a_complaint_is_logged_once_a_minute_and_the_next_counts_repeats(clock, caplog):
    for n in range(500):
        complain(f"job-{n}", ValueError("no such column"))
    assert len(caplog.records) == 1
    assert (caplog.records[0].job_id, caplog.records[0].error) == ("job-0", "ValueError")
    clock.now += SILENCE
    complain("another", ValueError("no such column"))
    assert caplog.records[1].repeated == 499


def test_another_error_is_another_line(caplog):
    complain("job", ValueError("a"))
    complain("job", ValueError("b"))
    complain("job", TypeError("a"))
    complain("job")
    assert len(caplog.records) == 4


def test_the_same_about_something_else_is_another_line(caplog):
    for strategy in ("paint", "count"):
        for job in range(3):
            logger.error("%s of %r raised", strategy, f"job-{job}", extra={"job_id": f"job-{job}"})
    assert [record.args[0] for record in caplog.records] == ["paint", "count"]


def test_what_was_said_is_not_kept_without_end(caplog):
    for n in range(3_000):
        logger.error("The %s thing of its own", n)
    assert len(quiet._logged) <= 1_000


@pytest.mark.urls(__name__)
def test_a_thousand_polls_of_a_silent_store_are_one_line(client, settings, caplog, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}

    def silent(ids):
        raise StoreUnavailable

    monkeypatch.setattr(views.tracking, "on_record", silent)
    for n in range(50):
        assert client.get(f"/immortus/verify/job-{n}").status_code == 503
    assert len([record for record in caplog.records if record.name == "immortus_channels"]) == 1


@pytest.mark.urls(__name__)
def test_a_bug_that_every_request_meets_is_one_line(client, settings, caplog, monkeypatch):
    def broken(ids):
        msg = "no such column"
        raise RuntimeError(msg)

    monkeypatch.setattr(views.tracking, "on_record", broken)
    for n in range(50):
        assert client.get(f"/immortus/verify/job-{n}").status_code == 500
    assert len([record for record in caplog.records if record.name == "immortus_channels"]) == 1


def test_a_store_that_refuses_every_event_is_one_line(settings, caplog, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}

    def full(self, job_id, change, *, known=None):
        msg = "disk full"
        raise RuntimeError(msg)

    monkeypatch.setattr(FlakyStore, "update", full)
    for _ in range(50):
        with pytest.raises(AssertionError):
            Process().enqueued()
    assert len(caplog.records) == 1
