"""`MyNiceClassroomWorker`"""

from __future__ import annotations

import enum
import time

from celery import shared_task

from immortus_channels import JobRepository, tracked


class WasItNice(enum.StrEnum):
    """What Ruby's symbols become: JSON has them as text, and they equal it."""

    YES_IT_WAS = enum.auto()
    NO_IT_WAS_NOT = enum.auto()


@shared_task(bind=True)
@tracked
def my_nice_classroom(self, classroom_id, *, nice=True):
    repo = JobRepository()
    job = repo.find(self.request.id)

    # do something nice here
    time.sleep(2)

    job.data["was_it_nice"] = WasItNice.YES_IT_WAS if nice else WasItNice.NO_IT_WAS_NOT

    job.complete()


def create_async_job(classroom_id, handler_class, *, nice=True):
    job_id = my_nice_classroom.delay(classroom_id, nice=nice).id
    return JobRepository().create(id=job_id, handler_class=handler_class, classroom_id=classroom_id)
