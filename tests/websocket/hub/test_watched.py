"""A watched job: the newest document, and who has which."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from immortus_channels.jobs.job import Job, State
from immortus_channels.push.messages import Push
from immortus_channels.websocket.hub.threads import Shared
from immortus_channels.websocket.hub.watched import Watched, WatchTable
from tests.pages import Page

JOB = Job(job_id="a", version=5)


def test_only_a_newer_document_is_taken():
    watched = Watched("a", Shared(asyncio.Event().wait))
    assert watched.version == 0
    taken = [watched.take(Push.of(replace(JOB, version=version))) for version in (5, 5, 4, 6)]
    assert taken == [True, False, False, True]
    assert watched.version == 6


def test_behind_are_those_who_were_answered_with_something_older():
    watched = Watched("a", Shared(asyncio.Event().wait))
    watched.take(Push.of(JOB))
    unanswered, older, newest = Page(), Page(), Page()
    watched.sent = {unanswered: None}
    assert not watched.is_answered()
    watched.sent |= {older: 4, newest: 5}
    assert watched.is_answered()
    assert list(watched.behind()) == [older]


class Table(WatchTable):
    """A table without a hub, which takes down what one would be called with."""

    def __init__(self):
        self.left, self.answered_again = [], []
        super().__init__(lambda *watch: self.left.append(watch), lambda *watch: self.answered_again.append(watch))

    def watched_by(self, sent):
        watched = self.jobs["a"] = Watched("a", Shared(asyncio.Event().wait))
        watched.take(Push.of(JOB))
        watched.sent = dict(sent)
        return watched


def test_a_document_goes_to_all_watchers_that_were_answered():
    table, one, other, unanswered = Table(), Page(), Page(), Page()
    table.watched_by({one: 5, other: 5, unanswered: None})
    table.deliver(Push.of(replace(JOB, version=6, state=State.RUNNING)))
    table.deliver(Push.of(replace(JOB, version=6, state=State.RUNNING)))
    assert [one.versions, other.versions, unanswered.versions] == [[6], [6], []]


def test_a_document_of_a_new_attempt_goes_to_nobody_before_a_new_answer():
    table, page, unanswered = Table(), Page(), Page()
    watched = table.watched_by({page: 5, unanswered: None})
    table.deliver(Push.of(replace(JOB, version=6, attempt=JOB.attempt + 1)))
    assert table.answered_again == [(page, watched)]
    assert not page.versions


def test_the_last_document_ends_the_watch():
    table, page = Table(), Page()
    watched = table.watched_by({page: 5})
    table.deliver(Push.of(replace(JOB, version=6, state=State.FINISHED)))
    assert (page.versions, page.over, table.left) == ([6], ["a"], [(page, watched)])
    assert not table.jobs


def test_a_watch_is_removed_once():
    table, page = Table(), Page()
    watched = table.watched_by({page: 5})
    table.remove(page, "a")
    table.remove(page, "a")
    assert table.left == [(page, watched)]
    assert not page.over, "it has asked for it itself"


def test_a_job_whose_record_has_gone_is_refused_to_all_its_watchers():
    table, one, other = Table(), Page(), Page()
    table.give_up(table.watched_by({one: 5, other: None}))
    assert [one.refused, other.refused, one.over, other.over] == [["a"]] * 4
    assert not table.jobs
