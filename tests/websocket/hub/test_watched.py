"""A watched job: the newest document, and who has which."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from immortus_channels.jobs.job import Job
from immortus_channels.push.messages import Push
from immortus_channels.websocket.hub.threads import Shared
from immortus_channels.websocket.hub.watched import Watched
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
