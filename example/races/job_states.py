"""What stands between the worker that runs a marathon and the web server that shows it."""

from __future__ import annotations

from datetime import timedelta

from immortus_channels import JobState
from races.courses import COURSES, Course

REMARKS = {
    25.0: "The last mile",
    20.0: "Here comes the wall",
    13.1: "Halfway, and more",
    0.1: "Finding a rhythm",
    0.0: "Waiting at the start",
}


class RunMarathon(JobState):
    """A marathon: the same class in both processes. The runner tells it things, the page asks it."""

    task = "races.tasks.run_marathon"

    @property
    def course(self) -> Course:
        """Where it is run."""
        return COURSES[str(self.params["course"])]

    @property
    def miles_run(self) -> float:
        """How far the runner is."""
        return self.get_progress_metric("miles_run", 0.0)

    @property
    def remark(self) -> str:
        """What the commentator says at this point of the race."""
        return next(remark for miles, remark in REMARKS.items() if self.miles_run >= miles)

    def passes(self, miles: float, *, pace: int, seconds: float) -> None:
        """The runner is so many miles from the start, after so many seconds; `pace` is seconds a mile."""
        self.set_progress_metric("miles_run", miles)
        self.set_progress_metric("pace", f"{pace // 60}:{pace % 60:02}")
        self.set_progress_metric("race_time", str(timedelta(seconds=round(seconds))))
        self.update(message=self.remark)
