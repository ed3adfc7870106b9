"""The tutorial's page of Huey, followed to the letter: with its consumer, and the server."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.test_tutorial import Studio
from tests.pages_of_docs import page
from tests.site import eventually

pytestmark = pytest.mark.slow


class HueyStudio(Studio):
    worker = ("manage.py", "run_huey", "--workers", "2")


@pytest.fixture
def studio(tmp_path):
    studio = HueyStudio(tmp_path)
    yield studio
    studio.stop()


def test_a_bar_moves_while_huey_works(studio):
    for sample in page("tutorial/first-bar.md").samples:
        if sample.title.endswith((".html", "studio/urls.py")):
            path = studio.folder / sample.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(sample.text)
    studio.follow("huey")
    studio.start()
    (job_id,) = re.findall(r'<immortus-job job-id="([\w-]+)"', studio.process("cat.jpg").text)
    assert eventually(lambda: 0 < (studio.document(job_id).get("percentage") or 0) < 100, within=30)
    assert studio.end_of(job_id)["state"] == "finished"
