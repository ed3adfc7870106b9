"""What is counted can be read at any time, exactly, and costs next to nothing."""

from __future__ import annotations

import os
import threading

import pytest

from immortus_channels import metrics
from immortus_channels.metrics import Metric


@pytest.fixture
def metric(request):
    """A metric that only this test knows."""
    before = list(metrics._metrics)
    yield Metric("counter", "tries", "Tries.", label=getattr(request, "param", ""))
    metrics._metrics[:] = before


def test_a_counter_is_exact_whoever_counts(metric):
    def work():
        for _ in range(5_000):
            metric.add()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metric.read() == 20_000


def test_every_number_can_be_read_by_its_name(metric):
    metric.add(2.5)
    assert metrics.read()["tries"] == 2.5
    assert set(metrics.read()) == {one.name for one in metrics._metrics}


@pytest.mark.parametrize("metric", ["code"], indirect=True)
def test_a_number_with_a_label_is_read_by_the_labels_values(metric):
    assert metrics.read()["tries"] == {}
    metric.add(of=4008)
    metric.add(of=4012)
    metric.add(of=4008)
    assert metrics.read()["tries"] == {"4008": 2, "4012": 1}
    assert [(one.labels, one.value) for one in metrics.samples() if one.name == "tries"] == [
        ({"code": "4008"}, 2),
        ({"code": "4012"}, 1),
    ]


def test_a_gauge_stands_where_it_was_set_and_moves_from_there(metric):
    metric.set(7)
    metric.add(-2)
    assert metric.read() == 5


def test_a_number_that_nothing_happened_to_is_there_as_zero():
    assert metrics.read()["rollbacks"] >= 0
    assert {"sockets", "watches", "writes_waiting", "pushes_healed"} <= {one.name for one in metrics.samples()}


def test_a_forked_child_begins_at_zero_even_if_its_parent_was_counting(metric):
    metric.add(3)
    with metric._lock:
        child = os.fork()
        if child == 0:
            metric.add()
            os._exit(int(metric.read()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert metric.read() == 3


def test_names_fit_prometheus_and_tell_what_they_are():
    for metric in metrics._metrics:
        assert metric.name.replace("_", "").isalpha()
        assert metric.name.islower()
        assert metric.help.endswith(".")
        assert metric.label in ("", "code", "call")
    names = [metric.name for metric in metrics._metrics]
    assert len(names) == len(set(names))
