"""The probe of `immortus_doctor`, as Celery's workers find it."""

from __future__ import annotations

from celery import Celery

import immortus_channels.tasks
from immortus_channels.queues.celery import PROBE
from immortus_channels.queues.celery.probe import probe


def test_the_probe_is_tracked_in_every_celery_app():
    app = Celery("shop", set_as_current=False)
    assert app.tasks[PROBE].run.__immortus__ is not None
    assert probe.name == PROBE
    assert immortus_channels.tasks.probing.DECLARED[0] == "celery"
