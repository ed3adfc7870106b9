"""Settings of that project: those that the suite has for a queue, with one PostgreSQL, and nothing that is told."""

from __future__ import annotations

import json
import os

from benchmarks.site import settings as site
from benchmarks.site.queues import hooked
from immortus_channels.testing.queues.project import settings as suite

globals().update({name: value for name, value in vars(suite).items() if name.isupper()})
INSTALLED_APPS = [*suite.INSTALLED_APPS[:-1], "benchmarks.site.queues.apps.QueuesConfig"]
DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
CHANNEL_LAYERS, IMMORTUS_STORE, LOGGING = site.CHANNEL_LAYERS, site.IMMORTUS_STORE, site.LOGGING
IMMORTUS_STALLED_AFTER, IMMORTUS_LOST_AFTER = site.IMMORTUS_STALLED_AFTER, site.IMMORTUS_LOST_AFTER

if "BENCH_HOOKS" in os.environ:
    hooked.watch()
