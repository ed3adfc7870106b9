"""Buckets and tallies: bursts pass, floods do not, and nobody's memory grows."""

from __future__ import annotations

import tracemalloc

from immortus_channels.access.buckets import Bucket, Refusals


def test_a_burst_passes_and_then_only_what_is_earned():
    bucket = Bucket(rate=2.0, burst=10, now=0.0)
    assert all(bucket.take(0.0) for _ in range(10))
    assert not bucket.take(0.0)
    assert bucket.take(0.5)
    assert not bucket.take(0.5)


def test_what_is_refused_costs_nothing_so_a_flood_ends_with_itself():
    bucket = Bucket(rate=1.0, burst=1, now=0.0)
    bucket.take(0.0)
    assert not any(bucket.take(0.0) for _ in range(1000))
    assert bucket.take(1.0)


def test_it_never_holds_more_than_its_burst():
    bucket = Bucket(rate=5.0, burst=3, now=0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_the_wait_is_until_there_is_enough_again():
    bucket = Bucket(rate=2.0, burst=4, now=0.0)
    assert bucket.wait() == 0
    assert bucket.take(0.0, 4)
    assert bucket.wait() == 0.5
    assert bucket.wait(4) == 2.0


def remembered(refusals):
    """How many keys and things it remembers."""
    return len(refusals._counted) + len(refusals._full) + refusals._things


def test_refusals_count_different_things_and_forget_them_after_a_minute():
    refusals = Refusals()
    for now in range(50):
        assert not refusals.count("a", ["x", "y"], 2, float(now))
    assert refusals.wait("a", 49.0) == 0
    assert refusals.count("a", ["z"], 2, 49.0)
    assert not refusals.count("a", ["u"], 2, 49.5), "whoever is full is so once"
    assert refusals.wait("a", 49.5) == 10.5
    assert refusals.wait("b", 49.5) == 0
    assert not refusals.count("a", ["z"], 2, 60.0)
    assert refusals.wait("a", 60.0) == 0


def test_what_is_over_is_forgotten_whoever_calls_next():
    refusals = Refusals()
    for number in range(100):
        refusals.count(f"one-time {number}", map(str, range(10)), 500, 0.0)
        refusals.count(f"full {number}", map(str, range(10)), 5, 1.0)
    assert remembered(refusals) == 100 * 11 + 100
    refusals.wait("somebody else", 60.0)
    assert remembered(refusals) == 100
    refusals.wait("somebody else", 61.0)
    assert remembered(refusals) == 0


def test_a_key_that_is_full_remembers_nothing_but_that():
    refusals = Refusals()
    refusals.count("a", map(str, range(100_000)), 10, 0.0)
    assert remembered(refusals) == 1


def test_what_very_many_were_refused_has_a_bound_in_memory(monkeypatch):
    for bound in ("KEYS", "THINGS"):
        monkeypatch.setattr(Refusals, bound, getattr(Refusals, bound) // 10)
    refusals = Refusals()
    tracemalloc.start()
    for number in range(1_200):
        refusals.count(f"address {number}", (f"{number} {n}" for n in range(50)), 500, number / 100)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusals._things <= Refusals.THINGS
    assert used < 1_600_000, "a tenth of what it may be"
    assert refusals.count("address 1199", map(str, range(460)), 500, 12.0), "the last ones are still counted"


def test_very_many_who_are_full_have_a_bound_too(monkeypatch):
    monkeypatch.setattr(Refusals, "KEYS", 3)
    refusals = Refusals()
    for number in range(5):
        assert refusals.count(f"full {number}", "abc", 2, 0.0)
        refusals.count(f"counted {number}", "a", 2, 0.0)
    assert [refusals.wait(f"full {number}", 0.0) for number in range(5)] == [0, 0, 60, 60, 60]
    assert remembered(refusals) == 3 + 3 + 3
