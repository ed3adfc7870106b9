"""A dict of the keys that were set most recently."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from immortus_channels.recent import Recent


def test_only_the_keys_set_most_recently_are_kept():
    kept: Recent[str, int] = Recent(2)
    for number, key in enumerate(("a", "b", "a", "c")):
        kept[key] = number
    assert dict(kept) == {"a": 2, "c": 3}


def test_reading_a_key_does_not_keep_it():
    kept: Recent[str, int] = Recent(2)
    kept["a"] = kept["b"] = 1
    assert kept.get("a") == 1
    kept["c"] = 1
    assert list(kept) == ["b", "c"]


def test_several_threads_may_set_keys_at_once():
    kept: Recent[int, int] = Recent(10)

    def set_many(start):
        for number in range(5_000):
            kept[(start + number) % 25] = number

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(set_many, range(4)))
    assert 1 <= len(kept) <= 10
