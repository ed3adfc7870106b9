"""`RunMarathonJob`"""

from __future__ import annotations

from celery import shared_task

from immortus_channels import tracked
from tests.seeds.races.job_states import RunMarathon
from tests.seeds.races.runner import Runner


@shared_task(bind=True)
@tracked(params=["city"])
def run_marathon(self, *, city="Hopkinton", stride=2.62, pause=0.2, stumbles=False):
    job_state = RunMarathon.find(self.request.id)
    runner = Runner(job_state, stride=stride, pause=pause)
    runner.run(stumbles=stumbles)
