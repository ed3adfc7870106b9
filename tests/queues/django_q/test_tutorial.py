"""The tutorial about Django-Q2, followed to the letter."""

from __future__ import annotations

import re
import sys

import httpx
import pytest

from tests.acceptance.test_tutorial import Studio
from tests.site import Process, eventually

pytestmark = pytest.mark.slow


class ClusterStudio(Studio):
    """The reader's project, with a cluster."""

    def start(self) -> None:
        """Run the last commands of the page."""
        self.manage("check", "--fail-level", "WARNING")
        self.manage("migrate", "--verbosity", "0")
        server = ("runserver", "--noreload", self.url.removeprefix("http://"))
        for log, command in (("cluster.log", ("qcluster",)), ("server.log", server)):
            self.processes.append(
                Process([sys.executable, "manage.py", *command], self.env, self.folder / log, self.folder)
            )
        eventually(lambda: httpx.get(self.url).status_code == 200, within=30)


@pytest.fixture
def studio(tmp_path):
    pytest.importorskip("django_q")
    studio = ClusterStudio(tmp_path)
    studio.follow("django-q2")
    studio.start()
    yield studio
    studio.stop()


def test_the_page_makes_a_live_bar(studio):
    (job_id,) = re.findall(r'<immortus-job job-id="([\w-]+)"', studio.process("cat.jpg").text)
    assert studio.document(job_id)["state"] in ("enqueued", "running")
    assert eventually(lambda: 0 < (studio.document(job_id).get("percentage") or 0) < 100, within=30)
    assert studio.end_of(job_id)["state"] == "finished"
