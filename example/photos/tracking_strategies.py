"""How this project's jobs are tracked where the default does not do.

Short names resolve here: `"process_image_strategy"` is `ProcessImageStrategy`.
"""

from __future__ import annotations

from immortus_channels import TrackingStrategy
from photos.models import ProcessImageTable


class ProcessImageStrategy(TrackingStrategy):
    """Tracks image jobs in a table of the project's own and tells the page their percentage."""

    def job_enqueued(self, job_id: str) -> None:
        ProcessImageTable.objects.create(job_id=job_id, status="enqueued", percentage=0)

    def job_started(self, job_id: str) -> None:
        self._update(job_id, status="running")

    def job_finished(self, job_id: str) -> None:
        self._update(job_id, status="finished", percentage=100)

    def update_percentage(self, job_id: str, percentage: int) -> None:
        self._update(job_id, percentage=percentage)

    def completed(self, job_id: str) -> bool:
        return self._find(job_id).status == "finished"

    def meta(self, job_id: str) -> dict[str, int]:
        return {"percentage": self._find(job_id).percentage}

    def _find(self, job_id: str) -> ProcessImageTable:
        return ProcessImageTable.objects.get(job_id=job_id)

    def _update(self, job_id: str, **fields: object) -> None:
        ProcessImageTable.objects.filter(job_id=job_id).update(**fields)
