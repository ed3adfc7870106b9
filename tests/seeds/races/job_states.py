"""`app/jobs/job_state`"""

from __future__ import annotations

from immortus_channels import JobState


class RunMarathon(JobState):
    task = "tests.seeds.races.tasks.run_marathon"
