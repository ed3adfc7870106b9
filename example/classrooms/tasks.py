"""The transfer of students, and how it is started so that somebody can wait for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from celery import shared_task
from django.conf import settings

from classrooms.models import Classroom, Student
from immortus_channels import JobFailed, JobHandle, JobRepository, current_job, tracked


@shared_task
@tracked
def transfer_students(student_ids: Sequence[int], destination_id: int) -> None:
    """Move the students one after the other, as long as there are seats."""
    job = current_job()
    destination = Classroom.objects.get(pk=destination_id)
    if not destination.seats:
        raise JobFailed("no_seats", f"The {destination} has no seats. Everybody stays where they are.")
    job.data["moved"] = 0
    for student in job.track(Student.objects.filter(pk__in=student_ids), message=f"To the {destination}"):
        time.sleep(settings.DEMO_PACE / len(student_ids))
        if destination.is_full:
            job.data["was_it_nice"] = "it_was_not"
            return
        Student.objects.filter(pk=student.pk).update(classroom=destination)
        job.data["moved"] += 1
    job.data["was_it_nice"] = "yes_it_was"


def create_transfer(classroom: Classroom, students: Sequence[Student], destination: Classroom) -> JobHandle:
    """Start a transfer; what its page has to know is kept with the job."""
    job_id = transfer_students.delay([student.pk for student in students], destination.pk).id
    return JobRepository().create(
        id=job_id,
        handler_class="transfer_handler",
        classroom_id=classroom.pk,
        destination=str(destination),
        students=len(students),
    )
