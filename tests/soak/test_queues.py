"""Five hundred jobs of each queue, whose workers are killed again and again: each is told as it ended."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.queues.suite.django_tasks import DjangoTasksDriver
from tests.queues.suite.dramatiq import DramatiqDriver
from tests.queues.suite.huey import HueyDriver
from tests.queues.suite.huey import RedisDriver as HueyOnRedisDriver
from tests.queues.suite.procrastinate import ProcrastinateDriver
from tests.queues.suite.rq import RQDriver
from tests.soak.campaign import SECONDS, Campaign, Soaked
from tests.soak.drivers import PatientCeleryDriver, PatientDjangoQDriver
from tests.soak.world import write

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 600)]

QUEUES = {
    "celery": Soaked(driver=PatientCeleryDriver, on_redis=True),
    "django-tasks-db": Soaked(driver=DjangoTasksDriver, workers=4),
    "django-q2": Soaked(driver=PatientDjangoQDriver),
    "dramatiq": Soaked(driver=DramatiqDriver, on_redis=True),
    "huey-sqlite": Soaked(driver=HueyDriver),
    "huey-redis": Soaked(driver=HueyOnRedisDriver, on_redis=True),
    "procrastinate": Soaked(driver=ProcrastinateDriver),
    "rq": Soaked(driver=RQDriver, workers=4, on_redis=True),
}
# These two are installed in environments of their own: `make queues QUEUE=arq` makes one.
if find_spec("arq"):
    from tests.queues.suite.arq import ArqDriver

    QUEUES["arq"] = Soaked(driver=ArqDriver, on_redis=True)
if find_spec("saq"):
    from tests.queues.suite.saq import SAQDriver

    QUEUES["saq"] = Soaked(driver=SAQDriver, on_redis=True)


@pytest.mark.redis
@pytest.mark.fault("M2")
@pytest.mark.parametrize("queue", QUEUES)
def test_each_job_s_end_is_told_right_however_often_workers_are_killed(tmp_path: Path, queue: str) -> None:
    report = Campaign(QUEUES[queue], tmp_path).run()
    write(f"queues-{queue}", report)
    assert report["wrong"] == 0, report["examples"]
    assert report["unfollowed_runs"] == report["unknown"] == 0
    assert report["ends"].get("finished", 0) > 0.5 * report["jobs"], "else little was tried"
    assert report["runs_cut_off"] > 0, "else nothing was killed at work"
