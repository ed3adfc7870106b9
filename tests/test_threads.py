"""Whether threads are greenlets is seen without importing what makes them so."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from immortus_channels.threads import is_green


def test_threads_are_threads():
    assert not is_green()


@pytest.mark.parametrize(
    ("name", "patched"),
    [
        ("gevent.monkey", {"is_module_patched": lambda name: name == "threading"}),
        ("eventlet.patcher", {"is_monkey_patched": lambda name: name == "thread"}),
    ],
)
def test_a_patch_is_seen(monkeypatch, name, patched):
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(**patched))
    assert is_green()
