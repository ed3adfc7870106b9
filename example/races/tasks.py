"""The runner, and the job that lets it run."""

from __future__ import annotations

import time

from celery import shared_task
from django.conf import settings

from immortus_channels import JobFailed, current_job, tracked
from races.courses import COURSES, MILES, Course
from races.job_states import RunMarathon

STRIDE = 0.1


class Runner:
    """Runs a marathon; knows of jobs only the object that it tells how far it is."""

    def __init__(self, race: RunMarathon, course: Course) -> None:
        self.race, self.course = race, course
        self.miles = 0.0
        self.seconds = 0.0

    def run(self) -> None:
        """Run to the end, or to where it cannot be borne any longer."""
        while self.miles < MILES:
            self.race.checkpoint()  # here a killed race stops
            time.sleep(settings.DEMO_PACE * 2 * STRIDE / MILES)
            pace = self.course.pace_at(self.miles)
            self.miles = round(self.miles + STRIDE, 1)
            self.seconds += pace * STRIDE
            self.race.passes(self.miles, pace=pace, seconds=self.seconds)
            if self.course.given_up_at <= self.miles < MILES:
                raise JobFailed("too_hot", f"Too hot: the runner gave up after {self.miles} miles.")


@shared_task
@tracked(params=["course"])
def run_marathon(course: str) -> None:
    """Run the course of this name; it is kept in the job's params, so that the page can tell it."""
    Runner(current_job(RunMarathon), COURSES[course]).run()
