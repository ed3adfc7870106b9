"""Buckets and tallies: bursts pass, floods do not, and nobody's memory grows."""

from __future__ import annotations

from immortus_channels.buckets import Bucket, Recent, Tally


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


def test_a_tally_counts_different_things_and_forgets_them_after_a_minute():
    tally = Tally(0.0)
    for now in range(50):
        tally.count(["a", "b"], 2, float(now))
    assert tally.wait(2, 49.0) == 0
    tally.count(["c"], 2, 49.0)
    assert tally.wait(2, 49.0) == 11.0
    tally.count(["d"], 2, 60.0)
    assert tally.wait(2, 60.0) == 0


def test_a_tally_that_is_full_remembers_no_more():
    tally = Tally(0.0)
    tally.count(map(str, range(100_000)), 10, 0.0)
    assert len(tally._seen) == 11


def test_only_the_keys_met_most_recently_are_kept(monkeypatch):
    monkeypatch.setattr(Recent, "MOST", 2)
    kept: Recent[list[str]] = Recent()
    for key in ("a", "b", "a", "c"):
        kept.get(key, list).append(key)
    assert kept.get("a", list) == ["a", "a"]
    assert kept.get("b", list) == []
