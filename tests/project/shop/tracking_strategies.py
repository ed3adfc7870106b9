"""Strategies found by their short names."""

from __future__ import annotations

from immortus_channels import TrackingStrategy
from tests.project.shop.models import ProcessImageTable


class ProcessImageStrategy(TrackingStrategy):
    """Method for method the strategy of the first requirement."""

    def job_enqueued(self, job_id):
        ProcessImageTable.objects.create(job_id=job_id, status="enqueued", percentage=0)

    def job_started(self, job_id):
        self._update(job_id, status="running")

    def job_finished(self, job_id):
        self._update(job_id, status="finished", percentage=100)

    def update_percentage(self, job_id, percentage):
        self._update(job_id, percentage=percentage)

    def completed(self, job_id):
        return self._find(job_id).status == "finished"

    def meta(self, job_id):
        return {"percentage": self._find(job_id).percentage}

    def _find(self, job_id):
        return ProcessImageTable.objects.get(job_id=job_id)

    def _update(self, job_id, **fields):
        ProcessImageTable.objects.filter(job_id=job_id).update(**fields)
