"""The same walk, told of by one package and by the other."""

from __future__ import annotations

import os
import time

from celery import shared_task

from immortus_channels import current_job, tracked

STEPS = 4


@shared_task
@tracked
def walk(seconds):
    for _ in current_job().track(range(STEPS)):
        time.sleep(seconds / STEPS)


if "BESIDE" in os.environ:
    from celery_progress.websockets.backend import WebSocketProgressRecorder

    @shared_task(bind=True)
    def walk_beside(self, seconds):
        recorder = WebSocketProgressRecorder(self)
        for step in range(STEPS):
            time.sleep(seconds / STEPS)
            recorder.set_progress(step + 1, STEPS)
