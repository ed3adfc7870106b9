"""The tables of the strategies, and what the jobs are about."""

from __future__ import annotations

from django.db import models


class MyCustomTrackingJobTable(models.Model):
    job_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.job_id


class SomeTable(models.Model):
    job_id = models.CharField(max_length=255, unique=True)
    progress = models.IntegerField(default=0)
    completed = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.job_id


class DelayedJob(models.Model):
    """A queue's own record of a job, deleted when the job is over."""

    handler = models.TextField()
    locked_at = models.DateTimeField(null=True)
    attempts = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.handler


class Video(models.Model):
    premium = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"video {self.pk}"
