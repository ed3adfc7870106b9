"""What a socket watches: each job once, by the last that was asked for it."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser

from immortus_channels import access_token, protocol
from immortus_channels.websocket.frames import TOKEN_EXPIRED, Watch
from immortus_channels.websocket.watches import Watches
from tests.hubs import hub, memory  # noqa: F401
from tests.pages import Page, Process, until

pytestmark = pytest.mark.usefixtures("memory", "hub")


class Socket(Page):
    """A page that owns its watches."""

    def __init__(self):
        super().__init__()
        self.withdrawn: list[str] = []
        self.watches = Watches(self, self.notify, lambda task: None)

    def notify(self, frame):
        self.frames.append(frame)

    def withdraw(self, job_id):
        self.withdrawn.append(job_id)
        return True

    def ended(self, job_id):
        super().ended(job_id)
        self.watches.ended(job_id)


@pytest.fixture
def job():
    job = Process()
    job.enqueued()
    return job


async def test_a_watch_by_a_token_takes_the_place_of_the_sockets_own(hub, job):
    socket = Socket()
    socket.watches.begin(Watch(job.job_id, 0))
    await until(lambda: len(socket.frames) == 1)
    socket.watches.begin(Watch(job.job_id, 0, access_token(job, AnonymousUser())))
    await until(lambda: len(socket.frames) == 2)
    (watcher,) = hub.table.jobs[job.job_id].sent
    assert watcher is not socket
    socket.watches.close()
    assert not hub.table.jobs


async def test_a_token_that_replaces_another_watch_is_told_when_it_ends(job, settings):
    settings.IMMORTUS_LIMITS = {"token_life": 1}
    socket = Socket()
    socket.watches.begin(Watch(job.job_id, 0))
    socket.watches.begin(Watch(job.job_id, 0, access_token(job, AnonymousUser())))
    await until(lambda: TOKEN_EXPIRED in socket.frames, within=3)
    socket.watches.close()


async def test_what_was_not_sent_yet_is_not_sent_any_more(job):
    socket = Socket()
    socket.watches.begin(Watch(job.job_id, 0))
    socket.watches.end(job.job_id)
    assert socket.withdrawn == [job.job_id]


async def test_a_dismissed_token_ends_its_own_watches_with_the_reason(hub, job):
    other = Process()
    other.enqueued()
    socket = Socket()
    socket.watches.begin(Watch(other.job_id, 0))
    for is_expired, code in ((True, "token_expired"), (False, "unknown_job")):
        socket.watches.begin(Watch(job.job_id, 0, access_token(job, AnonymousUser())))
        await until(lambda: job.job_id in hub.table.jobs)
        (bearer,) = hub.table.jobs[job.job_id].sent
        socket.watches.dismiss(bearer, is_expired=is_expired)
        assert (socket.told[-1]["code"], socket.told[-1]["job_id"]) == (code, job.job_id)
        assert list(hub.table.jobs) == [other.job_id]


async def test_the_hundred_and_first_is_refused_by_token_as_well(job):
    socket = Socket()
    for number in range(protocol.MAX_JOBS):
        socket.watches.begin(Watch(str(number), 0))
    socket.watches.begin(Watch(job.job_id, 0, access_token(job, AnonymousUser())))
    assert socket.told[-1]["code"] == "too_many_jobs"
    socket.watches.close()
