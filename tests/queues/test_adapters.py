"""An adapter is connected once its queue has been imported, is asked in its turn, and breaks nothing if it breaks."""

from __future__ import annotations

import importlib
import sys
from typing import ClassVar

import pytest

from immortus_channels import apps, loading, queues, tracking
from immortus_channels.queues import adapters
from tests.toys import ToyQueue


class Queue(ToyQueue):
    """Remembers to which port it was connected."""

    def __init__(self) -> None:
        super().__init__(type(self).__name__)
        self.ports = []

    def connect(self, port) -> None:
        self.ports.append(port)


class Above(Queue):
    """Runs jobs on other queues."""

    gives_way = True


class Broken(Queue):
    tried: ClassVar = {"toys": ("1.0", "1.1"), "bricks": ("7.2",)}

    def connect(self, port) -> None:
        msg = "no such hook"
        raise AttributeError(msg)


class Unmade(Queue):
    def __init__(self) -> None:
        raise OSError


@pytest.fixture(autouse=True)
def connected(monkeypatch):
    """The adapters of this process: none at first."""
    connected = []
    monkeypatch.setattr(queues, "connected", connected)
    monkeypatch.setattr(adapters, "_brought", set())
    return connected


def connect(kind, module="toys"):
    adapters.connect(loading.name_of(kind), tracking, brought_by=module)


def test_an_adapter_is_made_once_and_connected_for_each_of_its_modules(connected):
    connect(Queue)
    connect(Queue)
    connect(Queue, "toys.more")
    (queue,) = connected
    port, again = queue.ports
    assert port is again
    assert (port.queue, port.tracker) == (queue, tracking)


def test_an_adapter_of_what_runs_on_other_queues_is_asked_last(connected):
    for kind in (Above, Queue, ToyQueue):
        connect(kind, kind.__name__)
    assert [type(queue) for queue in connected] == [Queue, ToyQueue, Above]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (loading.name_of(Broken), r"tried with toys 1.0, 1.1; bricks 7.2"),
        (loading.name_of(Unmade), "tried with nothing"),
        ("toys.of.nobody", "tried with nothing"),
    ],
)
def test_an_adapter_that_cannot_be_connected_is_logged_and_left_out(connected, caplog, path, told):
    adapters.connect(path, tracking, brought_by="toys")
    assert connected == []
    (record,) = caplog.records
    assert path in record.getMessage()
    assert told in record.getMessage()
    assert record.exc_info


def test_a_package_may_bring_an_adapter_of_its_own(connected, monkeypatch, tmp_path):
    (tmp_path / "immortus_toys.py").write_text("number = 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(loading.ADAPTERS, "immortus_toys", "")  # and off the table again
    apps.connect_when_imported("immortus_toys", loading.name_of(Queue))
    assert connected == []
    importlib.import_module("immortus_toys")
    del sys.modules["immortus_toys"]
    assert [type(queue) for queue in connected] == [Queue]


@pytest.mark.parametrize(("module", "path"), loading.ADAPTERS.items())
def test_each_adapter_of_the_table_can_be_found(module, path):
    pytest.importorskip(module)  # not all queues can be installed beside each other
    assert issubclass(loading.find(path, "")[0], adapters.Queue)
