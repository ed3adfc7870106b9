"""`app/jobs/process_image_job.rb`"""

from __future__ import annotations

import time

from celery import shared_task

from immortus_channels.celery import TrackedTask


class ProcessImage(TrackedTask):
    abstract = True
    tracking_strategy = "process_image_strategy"


@shared_task(bind=True, base=ProcessImage)
def process_image(self, record=""):
    for percentage in range(0, 100, 10):
        if record == "broken":
            raise RuntimeError(record)
        self.strategy.update_percentage(self.job_id, percentage)
        time.sleep(0.2)
