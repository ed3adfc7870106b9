"""What the page remembers of its visitors' photographs, and the first seed's own table."""

from __future__ import annotations

import uuid

from django.db import models


class Photo(models.Model):
    """One photograph that somebody handed in, and the job that works on it.

    Its files lie in a folder of its own (see `paintings.py`); how the job is doing is not kept here.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    scene = models.CharField(max_length=32)
    title = models.CharField(max_length=200)
    job_id = models.CharField(max_length=255, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        """Name the photograph as the page does."""
        return self.title


class ProcessImageTable(models.Model):
    """Where `ProcessImageStrategy` keeps its jobs: a table of the project's own."""

    job_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=16)
    percentage = models.PositiveSmallIntegerField(default=0)

    def __str__(self) -> str:
        """Name the job and where it is."""
        return f"{self.job_id}: {self.status}, {self.percentage} %"
