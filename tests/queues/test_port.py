"""What an adapter asks the port for, and what it tells of runs in other processes."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from immortus_channels.jobs.events import Cancelled, Failed
from immortus_channels.jobs.job import State
from immortus_channels.keys import key_of
from immortus_channels.queues.base import Queue
from immortus_channels.queues.traits import QueueTraits

ROOT = Path(__file__).parent.parent.parent

CONNECTED = """
import django, sys; django.setup()
from immortus_channels.queues.base import Queue
from immortus_channels.queues.hooks import around
from immortus_channels.queues.moments import due
from immortus_channels.queues.port import Port
class Adapter(Queue):
    name = "toy"
    def connect(self, port): self.port = port
    def name_of(self, task): return None
    def job_of(self, given): return None
adapter = Adapter(); adapter.connect(Port(adapter, None))
assert adapter.port.here("a") is None and adapter.port.noted("a", None) is None
print(*(name for name in sys.modules if name.startswith("immortus_channels.")))
"""


def test_a_port_loads_neither_writer_nor_store_before_the_first_job():
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", CONNECTED], env=settings, check=True, capture_output=True, text=True)
    rooms = {name.split(".")[1] for name in ran.stdout.split()}
    assert not rooms & {"jobs", "stores", "writer", "push", "tracking", "conf"}


# Here


@pytest.fixture
def begin(port, options, job_id):
    def begin(job=job_id):
        """Begin a run in a context of its own."""
        return contextvars.copy_context().run(port.begin, job, "resize", options)

    return begin


def test_a_delivery_is_found_by_its_id_until_its_end(port, begin, job_id):
    delivery = begin()
    assert port.here(job_id) is delivery
    assert port.here("another") is None
    delivery.end()
    assert port.here(job_id) is None


def test_an_id_is_the_same_as_text(port, options):
    number = uuid.uuid4()
    delivery = port.begin(number, "resize", options)
    assert port.here(str(number)) is port.here(number) is delivery
    delivery.end()


def test_of_two_deliveries_of_a_job_the_one_of_this_context_is_here(port, options, job_id, begin):
    first = port.begin(job_id, "resize", options)
    later = begin()
    assert port.here(job_id) is port.inside(job_id) is first
    first.end()
    assert port.here(job_id) is later
    assert port.inside(job_id) is None
    later.end()


def test_a_run_here_is_found_from_another_thread(port, begin, job_id):
    delivery, found = begin(), []
    thread = threading.Thread(target=lambda: found.append(port.here(job_id)))
    thread.start()
    thread.join()
    assert found == [delivery]
    delivery.end()


def test_what_a_hook_has_noted_ends_the_run(port, begin, job_id, record):
    delivery = begin()
    port.noted(job_id, None)
    port.noted(job_id, RuntimeError())
    port.noted("another", RuntimeError())
    delivery.end()
    assert record().state is State.FAILED


# Elsewhere


def test_an_end_before_the_start_makes_the_sender_s_record(port, options, job_id, record):
    header = port.prepare(job_id, "resize", options, planned={"owner": "7"}).header
    port.ended(Cancelled, job_id, "resize", header=header, code="expired", unstarted=True)
    assert (record().state, record().error.code, record().owner) == (State.CANCELLED, "expired", "7")


@pytest.mark.parametrize(("job_class", "expected"), [("resize", True), ("", None)])
def test_an_end_of_a_job_that_nobody_told_of_is_for_staff(port, job_id, record, job_class, expected):
    port.ended(Cancelled, job_id, job_class, unstarted=True)
    assert (record() and record().staff_only) == expected


def test_an_end_of_a_planned_job_is_its_planner_s(port, job_id, record):
    port.ended(Cancelled, job_id, "resize", planned={"owner": "7"}, unstarted=True)
    assert (record().owner, record().staff_only) == ("7", False)


def test_another_process_ends_a_run_by_its_id(port, options, job_id, record):
    for run_id in ("r0", "r1"):
        port.begin(job_id, "resize", options, run_id=run_id).hand_over()
    port.ended(Failed, job_id, "resize", run_id="r0", code="worker_lost")
    assert record().state is State.RUNNING
    port.ended(Failed, job_id, "resize", run_id="r1", code="worker_lost")
    assert record().state is State.FAILED


def test_another_queue_ends_nothing(port, toy_queue, options, job_id, record):
    port.sent(job_id, "resize", options)
    toy_queue.name = "other"
    port.ended(Cancelled, job_id, "resize", unstarted=True)
    assert record().state is State.ENQUEUED


# Traits


def test_a_queue_has_modest_traits_until_its_adapter_says_more():
    given = {name: value for name, value in vars(QueueTraits).items() if not name.startswith("__")}
    assert {name for name, value in given.items() if value} == {"strategy"}
    assert issubclass(Queue, QueueTraits)


# Namespaces


def test_with_namespaces_a_queue_without_headers_is_not_followed(port, options, job_id, record, settings):
    """Its worker would not know whose job it runs, and another namespace may have the same id."""
    settings.IMMORTUS_NAMESPACE = lambda source: "a" if source is None else "b"
    port.queue.carries_headers = False
    sending = port.sent(job_id, "resize", options)
    sending.confirm()
    delivery = contextvars.copy_context().run(port.begin, job_id, "resize", options)
    assert not delivery.refused
    delivery.end(value=1)
    port.ended(Cancelled, job_id, "resize", unstarted=True)
    assert [record(key) for key in (job_id, key_of("a", job_id), key_of("b", job_id))] == [None] * 3


def test_with_headers_it_is_followed_in_the_namespace_of_its_sender(port, options, job_id, record, settings):
    settings.IMMORTUS_NAMESPACE = lambda _: "a"
    header = port.sent(job_id, "resize", options).header
    contextvars.copy_context().run(port.begin, job_id, "resize", options, header=header).end()
    assert record(key_of("a", job_id)).state is State.FINISHED
