"""The strategy of the job with a verify of its own."""

from __future__ import annotations

from tests.project.shop.tracking_strategies import ProcessImageStrategy


class JobCustomVerifyStrategy(ProcessImageStrategy):
    def percentage(self, job_id):
        return self._find(job_id).percentage
