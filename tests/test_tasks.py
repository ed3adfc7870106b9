"""The probe of `immortus_doctor`."""

from __future__ import annotations

import subprocess
import sys

from celery import Celery

from immortus_channels.queues.celery import PROBE
from immortus_channels.tasks import probe
from tests.site import ROOT


def test_the_probe_is_tracked_in_every_celery_app():
    app = Celery("shop", set_as_current=False)
    assert app.tasks[PROBE].run.__immortus__ is not None
    assert probe.name == PROBE


def test_without_celery_the_module_is_empty():
    """Other task queues look for `tasks` modules too."""
    code = (
        "import sys\n"
        "from importlib import util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *of: None if name == 'celery' else found(name, *of)\n"
        "from django.conf import settings; settings.configure()\n"
        "import immortus_channels.tasks\n"
        "assert 'celery' not in sys.modules and not hasattr(immortus_channels.tasks, 'probe')"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, check=True)
