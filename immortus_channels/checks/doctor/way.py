"""The way of a job: a probe goes through the queue to a worker, and comes back through store and channel layer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

from immortus_channels import tracking
from immortus_channels.checks.doctor import probe
from immortus_channels.checks.doctor.finding import Finding, reason_of, since
from immortus_channels.checks.doctor.layer import Listener, examine_hosts, examine_layer
from immortus_channels.jobs.job import Job, State
from immortus_channels.queues.base import Queue
from immortus_channels.stores import get_store
from immortus_channels.stores.sqlite.witness import testimony
from immortus_channels.threads import call_in_thread


def examine_way(timeout: float, name: str | None) -> Iterator[Finding]:
    """Send a probe through each queue in use, see a worker run it, and hear of it through the channel layer."""
    in_use = probe.in_use()
    if not in_use:
        hint = "`pip install immortus-channels[celery]`, or another queue; jobs of JobRepository need none."
        yield Finding(part="queue", level="wrong", message="no task queue is installed", hint=hint)
    wrong = False
    for queue in in_use:
        for finding in _examine_queue(queue, timeout, name):
            yield finding
            wrong = wrong or (finding.part, finding.level) == ("layer", "wrong")
    yield from examine_hosts(timeout, is_layer_wrong=wrong)


def _examine_queue(queue: Queue, timeout: float, name: str | None) -> Iterator[Finding]:
    job_id = str(uuid.uuid4())
    listener = _listen(job_id, timeout)
    began = time.monotonic()
    try:
        sent = call_in_thread(lambda: probe.send(queue, job_id, name)).result(timeout)
    except Exception as error:  # noqa: BLE001 - each broker has errors of its own
        hint = "Start the broker, or correct its address" + (
            ": CELERY_BROKER_URL, in most projects." if queue.name == "celery" else " in the settings of the queue."
        )
        yield Finding(part="queue", level="wrong", message=f"{queue.name}: {reason_of(error)}", hint=hint)
        yield examine_layer(listener, worked=False)
        return
    if sent is None:
        message = f"{queue.name}: not tried, nor its worker: only the project knows how to send its jobs"
        yield Finding(part="queue", level="note", message=message, hint="Start a job, and look at its page.")
        return
    how = "ran the probe itself, being eager" if queue.is_eager() else "took the probe"
    yield Finding(part="queue", level="ok", message=f"{queue.name} {how}, in {since(began)}")
    if sent != job_id:
        listener = _listen(sent, timeout)
    job = _follow(sent, timeout)
    worked = job is not None and job.state is State.FINISHED
    elsewhere = None if worked else call_in_thread(lambda: testimony(sent)).result(timeout)
    yield _examine_worker(queue, job, timeout) if elsewhere is None else _ran_elsewhere(queue, elsewhere)
    if sent == job_id or not queue.is_eager():
        yield examine_layer(listener, worked=worked)


def _listen(job_id: str, timeout: float) -> Listener:
    listener = Listener(job_id)
    listener.start()
    listener.is_ready.wait(timeout)
    return listener


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


def _examine_worker(queue: Queue, job: Job | None, timeout: float) -> Finding:
    match job:
        case None:
            message, hint = "the store never heard of the probe", "The log says why tracking failed."
        case Job(state=State.FINISHED, staff_only=True) if queue.name == "celery":
            message = "ran the probe, whose message did not name its owner: no user can see the jobs that they send"
            hint = "Messages need their headers: set CELERY_TASK_PROTOCOL to 2, and let no router or proxy drop them."
        case Job(state=State.FINISHED):
            waited = ((job.started_at or 0) - (job.enqueued_at or 0)) / 1e6
            message = f"{queue.name}'s ran the probe, which had waited {waited:.2f} s"
            return Finding(part="worker", level="ok", message=message)
        case Job(state=State.ENQUEUED):
            message = f"no worker ran the probe within {timeout:g} s"
            command = "`celery -A yourproject worker`" if queue.name == "celery" else "as the queue's own docs say"
            hint = (
                f"Start one: {command}. If one runs, it is busy with other jobs (try --timeout 60), listens to another "
                "queue (try --queue) or broker, or keeps jobs in another store (IMMORTUS_STORE)."
            )
        case Job(error=error) if error is not None and error.code == "unknown_task":
            message = f"does not know the task {job.job_class!r}"
            hint = "Let it find the `tasks` modules of all installed apps, and restart it."
            if queue.name == "celery":
                hint = "Call app.autodiscover_tasks() in your celery.py, and restart the worker."
        case _:
            message = f"left the probe {job.state}" + (f": {job.error.code}" if job.error is not None else "")
            hint = "The worker's log says why."
    return Finding(part="worker", level="wrong", message=f"{queue.name}: {message}", hint=hint)


def _ran_elsewhere(queue: Queue, place: str) -> Finding:
    message = f"{queue.name}'s ran the probe, but keeps its jobs in another file than this process: {place}"
    hint = "Give both the same folder with the database in it; to mount the file of the database alone is not enough."
    return Finding(part="worker", level="wrong", message=message, hint=hint)
