"""The table of the strategy."""

from __future__ import annotations

from django.db import models


class ProcessImageTable(models.Model):
    job_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=20)
    percentage = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.job_id
