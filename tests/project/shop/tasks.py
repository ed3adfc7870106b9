"""One task for each thing that can happen to a job."""

from __future__ import annotations

import datetime as dt
import enum
import os
import signal
import sys
import threading
import time
from pathlib import Path

from celery import chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject
from django.contrib.auth.models import Group
from django.db import transaction

import immortus_channels
from immortus_channels import JobFailed, current_job, tracked
from immortus_channels.celery import TrackedTask
from tests.api import children
from tests.project.shop import transactions


@shared_task
@tracked
def quick(pause=0.0, value=None):
    time.sleep(pause)
    current_job().set_meta(last=value)


@shared_task
@tracked
def steps(count=5, pause=0.2):
    for _ in current_job().track(range(count), message="Counting"):
        time.sleep(pause)


@shared_task
@tracked
def where(pause=0.0):
    """Publishes the folder that this worker has the package from."""
    for _ in current_job().track(range(4)):
        time.sleep(pause / 4)
    current_job().set_meta(package=str(Path(immortus_channels.__file__).parent.parent))


@shared_task
@tracked
def timed_steps(count=5, pause=0.2):
    """Publishes how long the longest call of its job took."""
    job, longest = current_job(), 0.0

    def timed(call, *args, **kwargs):
        nonlocal longest
        began = time.monotonic()
        result = call(*args, **kwargs)
        longest = max(longest, time.monotonic() - began)
        return result

    timed(job.update, total=count)
    for n in range(count):
        timed(job.update, current=n + 1, message=f"Step {n}")
        timed(job.set_meta, step=n)
        time.sleep(pause)
    job.set_meta(longest_call=longest)


@shared_task
@tracked
def sleeper(seconds=30.0):
    time.sleep(seconds)


@shared_task
@tracked
def fails():
    msg = "not_an_image"
    raise JobFailed(msg, "This file is not an image.")


@shared_task
@tracked
def crashes():
    msg = "a secret nobody may see"
    raise RuntimeError(msg)


@shared_task(bind=True, max_retries=5)
@tracked
def retries(self, times=2, countdown=0.3):
    current_job().update(current=5, total=10)
    if self.request.retries < times:
        raise self.retry(countdown=countdown, exc=RuntimeError("again"))


@shared_task(bind=True, max_retries=5)
@tracked
def retries_with_headers(self, task_id):
    """The retry that some monitoring integrations make of every one."""
    if self.request.retries == 0:
        raise self.retry(countdown=0.1, headers={"a": "b"})
    quick.apply_async(task_id=task_id)


@shared_task(bind=True)
@tracked
def hands_its_headers_on(self, task_id):
    quick.apply_async(task_id=task_id, headers=self.request.headers)


@shared_task(bind=True, max_retries=1)
@tracked
def exhausts(self):
    raise self.retry(countdown=0.1, exc=RuntimeError("again"))


@shared_task(autoretry_for=(Exception,), retry_kwargs={"max_retries": 3, "countdown": 0.2})
@tracked
def auto_retries():
    if current_job().attempt < 3:
        msg = "not yet"
        raise RuntimeError(msg)


@shared_task(autoretry_for=(Exception,), retry_kwargs={"max_retries": 3, "countdown": 0.2})
@tracked
def fails_then_recovers():
    if current_job().attempt == 1:
        raise JobFailed("not_now", "Not now.")


class Colour(enum.Enum):
    RED = 1


@shared_task
@tracked(params=True)
def odd_default(colour=Colour.RED, when=dt.date(2026, 1, 1)):
    assert current_job().params["colour"] == "<Colour>"


@shared_task
@tracked
def ignores():
    raise Ignore


@shared_task(acks_late=True)
@tracked
def rejects():
    msg = "no"
    raise Reject(msg, requeue=False)


@shared_task(acks_late=True)
@tracked
def requeues_once():
    if current_job().attempt == 1:
        msg = "later"
        raise Reject(msg, requeue=True)


@shared_task
@tracked
def requeues_too_late():
    msg = "later"
    raise Reject(msg, requeue=True)


@shared_task(time_limit=2)
@tracked
def hard_limit():
    current_job().update(current=1, total=4)
    time.sleep(30)


@shared_task(soft_time_limit=1)
@tracked
def soft_limit():
    time.sleep(30)


@shared_task
@tracked
def kills_itself():
    current_job().update(current=1, total=2)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)


@shared_task(acks_late=True, reject_on_worker_lost=True)
@tracked
def dies_once():
    if current_job().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


class OwnError(Exception):
    """What a task makes of whatever it meets. Celery cannot pickle it, and tells of another in its place."""

    def __init__(self, *, why):
        super().__init__(why)


@shared_task(soft_time_limit=3)
@tracked
def wraps(count=100):
    try:
        for _ in current_job().track(range(count)):
            time.sleep(0.1)
        raise JobFailed("not_an_image", "This file is not an image.")
    except Exception as met:
        raise OwnError(why="the worst") from met


@shared_task(acks_late=True)
@tracked
def late():
    """Takes long the first time; its message is kept until it is done."""
    for _ in current_job().track(range(200 if current_job().attempt == 1 else 1)):
        time.sleep(0.1)


@shared_task
@tracked
def floods(count=10_000):
    job = current_job()
    job.update(total=count)
    for n in range(1, count + 1):
        job.update(current=n)
        job.set_meta(last=n)


@shared_task
@tracked
def exits():
    sys.exit(3)


@shared_task
@tracked(cancel="terminate")
def terminable():
    time.sleep(60)


@shared_task
@tracked(cancel=False)
def stubborn():
    time.sleep(2)


@shared_task
@tracked
def catches_its_own():
    try:
        raise ValueError
    except ValueError:
        return


@shared_task
@tracked
def from_threads():
    job = current_job()

    def work():
        for _ in range(1000):
            job.update(advance=1)

    job.update(total=4000)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class OwnTable(TrackedTask):
    abstract = True
    tracking_strategy = "process_image_strategy"


@shared_task(bind=True, base=OwnTable)
def own_table(self, pause=0.1):
    for n in range(0, 100, 20):
        self.strategy.update_percentage(self.job_id, n)
        time.sleep(pause)


@shared_task
@tracked
def in_own_transaction():
    with transaction.atomic():
        for _ in current_job().track(range(5)):
            time.sleep(0.3)
        raise RuntimeError


@shared_task
@tracked
def link(value=0, add=1):
    return value + add


@shared_task
@tracked
def broken_link(value=0):
    raise RuntimeError


@shared_task
@tracked
def gather(values):
    return sum(values)


@shared_task(bind=True)
@tracked
def replaces_itself(self, by="quick"):
    replacements = {
        "quick": lambda: quick.si(0.5, "replacement"),
        "chord": lambda: chord([link.si(1), link.si(2)], gather.s()),
        "untracked": lambda: untracked_value.si(7),
        "untracked chord": lambda: chord([link.si(1), link.si(2)], untracked_value.s(0.5)),
        "chain": lambda: chain(link.si(1), untracked_value.s(0.5)),
        "slow chain": lambda: chain(untracked_value.si(1, 1.5), untracked_value.si(2)),
        "group": lambda: group(link.si(1), untracked_value.si(2)),
        "retried": untracked_retry.si,
        "retried with headers": lambda: untracked_retry.si({"a": "b"}),
        "replaced": untracked_and_replaced.si,
        "crash": untracked_crash.si,
        "broken group": lambda: group(link.si(1), untracked_crash.si()),
        "broken chain": lambda: chain(untracked_crash.si(), untracked_value.si(1)),
        "tracked and broken": lambda: chord([link.si(1), broken_link.si()], gather.s()),
        "time limit": untracked_and_too_long.si,
    }
    raise self.replace(replacements[by]())


@shared_task
@tracked
def starts_another(task_id=None):
    return quick.apply_async(task_id=task_id).id


@shared_task
def untracked():
    return current_job().job_id


@shared_task
def untracked_value(value=0, pause=0.5):
    time.sleep(pause)
    return value


@shared_task
def untracked_crash(*_):
    raise RuntimeError


@shared_task(time_limit=1)
def untracked_and_too_long():
    time.sleep(30)


@shared_task(bind=True, max_retries=2)
def untracked_retry(self, headers=None):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, **({"headers": headers} if headers else {}))


@shared_task(bind=True)
def untracked_and_replaced(self):
    raise self.replace(group(untracked_value.si(1), untracked_value.si(2)))


@shared_task
def untracked_and_ignored():
    raise Ignore


@shared_task(bind=True)
def untracked_replacement(self):
    raise self.replace(untracked_value.si(1))


@shared_task
@tracked
def read_then_write(name):
    transactions.read_then_write(transactions.everything_else, name)


@shared_task
@tracked
def read_then_write_often(name, times, pause):
    numbers = current_job().track(range(times))
    current_job().set_result({"failed": transactions.read_then_write_often(name, numbers, pause)})


@shared_task
def read_then_write_often_untracked(name, times, pause):
    failed = transactions.read_then_write_often(name, range(times), pause)
    Group.objects.create(name=f"{name} failed {failed}")


from tests.project.shop.endings import *  # noqa: E402, F403 - Celery and the views look for tasks here


@shared_task
@tracked
def has_children(way):
    current_job().update(current=0, total=children.CHILDREN * children.CALLS)
    children.WAYS[way](current_job().id)
