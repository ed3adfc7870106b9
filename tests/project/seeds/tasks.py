"""The jobs of the ancestors' texts: a photograph that is painted, a job of any kind, a marathon."""

from __future__ import annotations

import time

from celery import shared_task

from immortus_channels import current_job, tracked
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
        time.sleep(0.3)


@shared_task
@tracked
def my_job():
    for _ in current_job().track(range(5)):
        time.sleep(0.3)


class JobCustomVerify(TrackedTask):
    abstract = True
    tracking_strategy = "job_custom_verify_strategy"


@shared_task(bind=True, base=JobCustomVerify)
def job_custom_verify(self):
    for percentage in range(0, 100, 10):
        self.strategy.update_percentage(self.job_id, percentage)
        time.sleep(0.3)


@shared_task
@tracked
def run_marathon(*, pause=0.2, stumbles=False):
    runner = Runner(current_job(), pause)
    runner.run(stumbles=stumbles)


class Runner:
    """Runs 26.2 miles in ten strides, and stops between two of them when nobody wants it to run any more."""

    def __init__(self, job_state, pause):
        self.job_state = job_state
        self.pause = pause
        self.miles = 0

    def run(self, *, stumbles):
        while self.miles < 26.2:
            self.job_state.checkpoint()
            self.miles = round(self.miles + 2.62, 2)
            self.job_state.set_progress_metric("miles_run", self.miles)
            time.sleep(self.pause)
            if stumbles:
                raise RuntimeError
