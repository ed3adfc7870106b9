"""The strategies that the documentation defines or names."""

from __future__ import annotations

from django.conf import settings
from redis import Redis

from immortus_channels import TrackingStrategy
from tests.seeds.documentation.models import DelayedJob, MyCustomTrackingJobTable, SomeTable


class MyCustomTrackingStrategy(TrackingStrategy):
    def job_enqueued(self, job_id):
        # Save in a custom table that this job was created
        MyCustomTrackingJobTable.objects.create(job_id=job_id, status="created")

    def job_started(self, job_id):
        self._find(job_id).update(status="started")

    def job_finished(self, job_id):
        self._find(job_id).update(status="finished")

    # should return a boolean (true if job is finished, false otherwise)
    def completed(self, job_id):
        job = self._find(job_id).get()
        return job.status == "finished"

    # if `meta` is defined, what it returns will be added in every verify request
    def meta(self, job_id):
        job = self._find(job_id).get()

        return {"status": job.status}

    def _find(self, job_id):
        return MyCustomTrackingJobTable.objects.filter(job_id=job_id)


class SomeCustomStrategy(TrackingStrategy):
    """Also the strategy of a custom verify: it has `completed?` and `percentage`."""

    def job_enqueued(self, job_id):
        SomeTable.objects.create(job_id=job_id)

    def job_finished(self, job_id):
        self._find(job_id).update(completed=True, progress=100)

    def update_progress(self, job_id, progress):
        self._find(job_id).update(progress=progress)

    def completed(self, job_id):
        return self._find(job_id).get().completed

    def percentage(self, job_id):
        return self._find(job_id).get().progress

    def meta(self, job_id):
        job = self._find(job_id).get()

        return {"progress": job.progress}

    def _find(self, job_id):
        return SomeTable.objects.filter(job_id=job_id)


class RedisPubSubStrategy(TrackingStrategy):
    def job_enqueued(self, job_id):
        self._publish(job_id, "created")

    def job_started(self, job_id):
        self._publish(job_id, "started")

    def job_finished(self, job_id):
        self._publish(job_id, "finished")

    def meta(self, job_id):
        return {"channel": f"jobs:{job_id}"}

    def _publish(self, job_id, status):
        with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
            redis.rpush(f"jobs:{job_id}", status)


class DelayedJobStrategy(TrackingStrategy):
    """Since Delayed::Job already persists data we need none of the callbacks, just `status` and find."""

    def status(self, job_id):
        job = self._find(job_id)
        if job is None:
            return "finished"
        if job.locked_at or job.attempts > 0:
            return "started"
        return "created"

    def allows(self, user, job):
        return True

    def _find(self, job_id):
        return DelayedJob.objects.filter(handler__contains=job_id).first()
