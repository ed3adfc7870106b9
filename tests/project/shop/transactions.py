"""What any Django project does: read in a transaction, then write; and what jobs do meanwhile."""

from __future__ import annotations

import time
import uuid

from django.contrib.auth.models import Group
from django.db import OperationalError, transaction

from immortus_channels import JobRepository, get_job, tracking
from immortus_channels.jobs import Job, State
from immortus_channels.stores import get_store

WEEK = 7 * 86_400 * 1_000_000


def on_record(job_id, is_so, within=2.0):
    """Wait until the job on record is so, asked for here, as anybody would."""
    end = time.monotonic() + within
    while not is_so(job := get_store().get_many([job_id]).jobs.get(job_id)):
        if time.monotonic() > end:
            raise TimeoutError(f"not on record: {job}")
        time.sleep(0.01)
    return job


def everything_else():
    """A progress write, a renewal, a cancel, a prune and an end of a job, each on record before the next."""
    store, waiting, old = get_store(), JobRepository().create(), uuid.uuid4().hex
    with JobRepository().create().running() as job:
        job.update(current=1, total=2)
        running = on_record(job.job_id, lambda found: found and found.current == 1)
        tracking.renew(job.job_id, running.lease_holder, 1_000)
        on_record(job.job_id, lambda found: found.lease_until > running.lease_until)
        get_job(waiting.job_id).cancel()
        on_record(waiting.job_id, lambda found: found.state is State.CANCELLED)
        store.update(old, lambda _, now: Job(job_id=old, state=State.FINISHED, version=now, finished_at=now - 2 * WEEK))
        store.prune(WEEK / 1_000_000)
        on_record(old, lambda found: found is None)
    on_record(job.job_id, lambda found: found.state is State.FINISHED)


def read_then_write(meanwhile, name):
    with transaction.atomic():
        Group.objects.count()
        meanwhile()
        Group.objects.create(name=name)


def read_then_write_often(name, numbers, pause):
    """How many of so many transactions failed."""
    failed = 0
    for number in numbers:
        try:
            read_then_write(lambda: time.sleep(pause), f"{name}-{number}")
        except OperationalError:
            failed += 1
    return failed
