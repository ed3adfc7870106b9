"""Celery's adapter is connected when Celery is imported, whichever comes first, that or `django.setup()`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps

from immortus_channels import queues

ROOT = Path(__file__).parent.parent
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
CONNECTED = "from immortus_channels import queues; print(*(queue.name for queue in queues.connected))"


def output_of(*lines: str) -> str:
    urls = "from django.conf import settings; settings.ROOT_URLCONF = 'immortus_channels.urls'"
    code = "\n".join((urls, *lines))
    return subprocess.run(
        [sys.executable, "-c", code], env=SETTINGS, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_queues_that_are_imported_are_connected_once():
    __import__("celery.app")
    apps.get_app_config("immortus_channels").ready()
    assert [queue.name for queue in queues.connected].count("celery") == 1


@pytest.mark.parametrize(
    "first",
    [
        "import celery.app, django; django.setup()",
        "import celery, django; django.setup(); celery.Celery",
        "import django; django.setup(); import celery.app",
        "import django; django.setup(); from celery.result import AsyncResult; AsyncResult('a')",
        "import django; django.setup(); import immortus_channels.queues.celery.publish_signals",
        "import django; django.setup(); import immortus_channels.celery",
        "import django, importlib; django.setup(); import celery.app; importlib.reload(celery.app)",
        "import django, importlib.util; django.setup(); importlib.util.find_spec('celery.app'); import celery.app",
        "import django; django.setup(); from immortus_channels import checks; checks.check_all()",
    ],
)
def test_celery_is_connected_however_it_comes(first):
    assert output_of(first, CONNECTED).splitlines()[-1] == "celery"


def test_without_celery_no_queue_is_connected():
    assert not output_of("import django; django.setup()", CONNECTED)


def test_a_celery_that_cannot_be_connected_is_imported_all_the_same():
    broken = "import sys; sys.modules['immortus_channels.queues.celery.adapter'] = None"
    assert output_of("import django; django.setup()", broken, "import celery.app; print(celery.app.Celery.__name__)")


def test_a_job_sent_by_name_has_its_owner_in_a_process_that_knows_no_task():
    sent = output_of(
        "import django; django.setup()",
        "from types import SimpleNamespace",
        "from immortus_channels import started_by",
        "with started_by(SimpleNamespace(pk=7)):",
        "    from celery import Celery, signals",
        "    app = Celery(broker='memory://')",
        "    signals.before_task_publish.connect(lambda headers, **_: print(headers['immortus']['owner']), weak=False)",
        "    app.send_task('shop.paint')",
    )
    assert sent == "7"
