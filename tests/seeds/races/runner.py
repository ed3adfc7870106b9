"""Code that is run inside of the job, and knows its job state alone."""

from __future__ import annotations

import time


class Runner:
    """Runs 26.2 miles, and stops between two strides when nobody wants it to run any more."""

    def __init__(self, job_state, *, stride, pause):
        self.job_state = job_state
        self.stride = stride
        self.pause = pause
        self.miles = 0

    def run(self, *, stumbles):
        while self.miles < 26.2:
            self.job_state.checkpoint()
            self.miles = round(self.miles + self.stride, 2)
            self.job_state.set_progress_metric("miles_run", self.miles)
            time.sleep(self.pause)
            if stumbles:
                raise RuntimeError
