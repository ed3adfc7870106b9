"""The way of a job: a probe goes through the queue to a worker, and comes back through store and channel layer."""

from __future__ import annotations

import time
from collections.abc import Iterator

from immortus_channels import queues, tasks, tracking
from immortus_channels.checks.doctor.finding import Finding, reason_of, since
from immortus_channels.checks.doctor.layer import Listener, examine_hosts, examine_layer
from immortus_channels.jobs.job import Job, State
from immortus_channels.stores import get_store
from immortus_channels.stores.sqlite.witness import testimony
from immortus_channels.threads import call_in_thread


def examine_way(job_id: str, timeout: float, queue: str | None) -> Iterator[Finding]:
    """Send the probe, see a worker run it, and hear of it through the channel layer."""
    listener = Listener(job_id)
    listener.start()
    listener.is_ready.wait(timeout)
    sent = _send(job_id, timeout, queue)
    yield sent
    worked = False
    if sent.level == "ok":
        job = _follow(job_id, timeout)
        worked = job is not None and job.state is State.FINISHED
        elsewhere = None if worked else call_in_thread(lambda: testimony(job_id)).result(timeout)
        yield _examine_worker(job, timeout) if elsewhere is None else _ran_elsewhere(elsewhere)
    layer = examine_layer(listener, worked=worked)
    yield layer
    yield from examine_hosts(timeout, is_layer_wrong=layer.level == "wrong")


def _send(job_id: str, timeout: float, queue: str | None) -> Finding:
    celery = queues.by_name("celery")
    if celery is None:
        hint = "`pip install immortus-channels[celery]`; jobs of JobRepository need none."
        return Finding(part="queue", level="wrong", message="no task queue is installed", hint=hint)
    began = time.monotonic()
    try:
        call_in_thread(lambda: tasks.probe.apply_async(task_id=job_id, queue=queue, retry=False)).result(timeout)
    except Exception as error:  # noqa: BLE001 - each broker has errors of its own
        hint = "Start the broker, or correct its address: CELERY_BROKER_URL, in most projects."
        return Finding(part="queue", level="wrong", message=reason_of(error), hint=hint)
    how = "ran the probe itself, being eager" if celery.is_eager() else "took the probe"
    return Finding(part="queue", level="ok", message=f"{celery.name} {how}, in {since(began)}")


def _follow(job_id: str, timeout: float) -> Job | None:
    """Wait until the probe's job is over; cancel it after `timeout` seconds, as no worker need run it any more."""
    end = time.monotonic() + timeout
    while True:
        job = call_in_thread(lambda: get_store().get_many([job_id])).result(timeout).jobs.get(job_id)
        if job is not None and job.is_over:
            return job
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    if job is not None:
        call_in_thread(lambda: tracking.cancel(job_id)).result(timeout)
    return job


def _examine_worker(job: Job | None, timeout: float) -> Finding:
    match job:
        case None:
            message, hint = "the store never heard of the probe", "The log says why tracking failed."
        case Job(state=State.FINISHED, staff_only=True):
            message = "ran the probe, whose message did not name its owner: no user can see the jobs that they send"
            hint = "Messages need their headers: set CELERY_TASK_PROTOCOL to 2, and let no router or proxy drop them."
        case Job(state=State.FINISHED):
            waited = ((job.started_at or 0) - (job.enqueued_at or 0)) / 1e6
            return Finding(part="worker", level="ok", message=f"ran the probe, which had waited {waited:.2f} s")
        case Job(state=State.ENQUEUED):
            message = f"no worker ran the probe within {timeout:g} s"
            hint = (
                "Start one: `celery -A yourproject worker`. If one runs, it is busy with other jobs (try --timeout "
                "60), listens to another queue (try --queue) or broker, keeps jobs in another store (IMMORTUS_STORE), "
                "or uses gevent or eventlet."
            )
        case Job(error=error) if error is not None and error.code == "unknown_task":
            message = f"does not know the task {job.job_class!r}"
            hint = "Call app.autodiscover_tasks() in your celery.py, and restart the worker."
        case _:
            message = f"left the probe {job.state}" + (f": {job.error.code}" if job.error is not None else "")
            hint = "The worker's log says why."
    return Finding(part="worker", level="wrong", message=message, hint=hint)


def _ran_elsewhere(place: str) -> Finding:
    message = f"ran the probe, but keeps its jobs in another file than this process: {place}"
    hint = "Give both the same folder with the database in it; to mount the file of the database alone is not enough."
    return Finding(part="worker", level="wrong", message=message, hint=hint)
