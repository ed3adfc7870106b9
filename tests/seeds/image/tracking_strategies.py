"""`app/jobs/tracking_strategy/process_image_strategy.rb`"""

from __future__ import annotations

from immortus_channels import TrackingStrategy
from tests.seeds.image.models import ProcessImageTable


class ProcessImageStrategy(TrackingStrategy):
    def job_enqueued(self, job_id):
        ProcessImageTable.objects.create(job_id=job_id, status="enqueued", percentage=0)

    def job_started(self, job_id):
        self._find(job_id).update(status="running")

    def job_finished(self, job_id):
        self._find(job_id).update(status="finished", percentage=100)

    def update_percentage(self, job_id, percentage):
        self._find(job_id).update(percentage=percentage)

    def completed(self, job_id):
        job = self._find(job_id).get()
        return job.status == "finished"

    def meta(self, job_id):
        job = self._find(job_id).get()

        return {"percentage": job.percentage}

    def _find(self, job_id):
        return ProcessImageTable.objects.filter(job_id=job_id)
