"""The ids of Procrastinate's jobs."""

from __future__ import annotations

import pytest

from immortus_channels.queues.procrastinate.adapter import ProcrastinateQueue
from immortus_channels.queues.procrastinate.marks import number_of


def test_an_id_names_its_queue_and_gives_the_number_back():
    job_id = ProcrastinateQueue().id_of(7)
    assert job_id == "procrastinate-7"
    assert number_of(job_id) == 7


@pytest.mark.parametrize(
    "job_id",
    ["7", "", "procrastinate-", "procrastinate--7", "procrastinate-²", "django-q-7", "procrastinate-" + "9" * 19],
)
def test_no_other_text_stands_for_a_number(job_id):
    assert number_of(job_id) is None
