"""A process whose threads gevent has replaced, with real greenlets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.servers import need_package

SCRIPT = """
from gevent import monkey

monkey.patch_all()

import asyncio, json, sys, time
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "immortus_channels"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    IMMORTUS_STALLED_AFTER=0.6,
    IMMORTUS_LOST_AFTER=1.2,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}},
)
django.setup()
call_command("migrate", verbosity=0)

import gevent
from immortus_channels import JobRepository, get_job
from immortus_channels.stores import get_store
from immortus_channels.writer import get_writer

JOB = JobRepository().create().job_id
LATE = []


def is_late():
    reading = get_store().get_many([JOB])
    return reading.jobs[JOB].lease_until < reading.now


def watch():
    while get_job(JOB).document["state"] != "finished":
        LATE.append(is_late())
        gevent.sleep(0.1)


async def wait():
    await asyncio.sleep(1.5)
    return "answered"


with JobRepository().find(JOB).running() as job:
    watcher = gevent.spawn(watch)
    for _ in job.track(range(15)):
        time.sleep(0.1)
    watcher.kill()
    answered = asyncio.run(wait())
    LATE.append(is_late())
    watcher = gevent.spawn(watch)
    time.sleep(0.3)
watcher.join()

told = {"late": sum(LATE), "looks": len(LATE), "answered": answered, "writer": type(get_writer()).__name__}
print(json.dumps({**told, "state": get_job(JOB).document["state"]}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, Any]:
    """What a job of a green process told, beside a greenlet that watched it."""
    need_package("gevent", "gevent")
    place = str(tmp_path_factory.mktemp("green") / "db.sqlite3")
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, place], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "log": done.stderr}


def test_a_greenlet_renews_the_lease_of_a_run(told):
    assert told["looks"] > 10
    assert (told["late"], told["state"], told["writer"]) == (0, "finished", "GreenWriter")


def test_a_loop_of_the_task_s_own_runs(told):
    assert told["answered"] == "answered"
    assert "failed" not in told["log"]


def test_the_process_says_that_it_pushes_nothing(told):
    assert told["log"].count("nothing is pushed") == 1
