"""What is peculiar to the memory store."""

from __future__ import annotations

import pytest

from immortus_channels.stores.memory import MemoryStore


def test_it_is_seen_by_this_process_only():
    assert not MemoryStore.is_shared


def test_two_stores_know_nothing_of_each_other(put):
    one, other = MemoryStore(), MemoryStore()
    put(one)
    assert other.get_many(["a"]).jobs == {}


def test_what_could_not_be_stored_elsewhere_is_refused_here_too(put):
    with pytest.raises(TypeError):
        put(MemoryStore(), meta={"when": object()})


def test_nobody_changes_a_stored_job_by_changing_what_they_were_given(put):
    store = MemoryStore()
    meta = {"miles": 1}
    put(store, meta=meta)
    meta["miles"] = 2
    store.get_many(["a"]).jobs["a"].meta["miles"] = 3
    assert store.get_many(["a"]).jobs["a"].meta == {"miles": 1}
