"""The suite's Celery app; the worker imports the tasks once Django is set up, which Celery does by itself."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("suite", broker=os.environ["SUITE_REDIS"], backend=os.environ["SUITE_REDIS"])
app.conf.broker_connection_retry_on_startup = True
app.conf.imports = ["immortus_channels.testing.queues.project.tasks"]
