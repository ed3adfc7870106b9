"""What is peculiar to the Redis store."""

from __future__ import annotations

import multiprocessing
import time
import uuid
from contextlib import suppress
from dataclasses import replace

import pytest
from redis import Redis
from redis.connection import AbstractConnection

from immortus_channels.exceptions import StoreNotFound, StoreUnavailable
from immortus_channels.jobs.job import Job, State
from immortus_channels.stores import load_store
from immortus_channels.stores.base import Filter
from immortus_channels.stores.redis import RedisStore
from tests.servers import RedisServer, free_port
from tests.stores.places import Place

DAY = 86_400


@pytest.fixture
def store(redis: Place, opened) -> RedisStore:
    return opened(redis)


@pytest.fixture
def raw(redis_server):
    """A plain client, to look behind the store."""
    with Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def round_trips(monkeypatch):
    """How often something was sent."""
    sent = []
    send = AbstractConnection.send_packed_command

    def counted(self, *args, **options):
        sent.append(args)
        return send(self, *args, **options)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
    return sent


def keys(raw: Redis, store: RedisStore) -> set[str]:
    return {key.decode() for key in raw.keys(f"{store._layout._tag}:*")}


def finish(put, store, job_id: str = "a", **fields) -> Job:
    return put(store, job_id, **{"state": State.FINISHED, "finished_at": 0, **fields})


# Round trips


def test_positions_of_a_thousand_jobs_take_one_round_trip(store, put, round_trips):
    put(store)
    store.positions(["a"])
    round_trips.clear()
    assert store.positions([*map(str, range(999)), "a"]).of.keys() == {"a"}
    assert len(round_trips) == 1


def test_an_update_takes_two_round_trips(store, put, round_trips):
    put(store)
    round_trips.clear()
    put(store, message="new")
    assert len(round_trips) == 2


def test_an_update_of_what_is_known_takes_one_round_trip(store, put, round_trips):
    known = put(store)
    round_trips.clear()
    store.update("a", lambda job, now: replace(job, message="new", version=now), known=known)
    assert len(round_trips) == 1


def test_renewing_many_leases_takes_one_round_trip(store, put, round_trips):
    put(store, lease_until=1, lease_holder="run")
    store.renew({"a": "run"}, 5)
    round_trips.clear()
    store.renew({**dict.fromkeys(map(str, range(500)), "x"), "a": "run"}, 60)
    assert len(round_trips) == 1


# Expiry


@pytest.mark.case(52)
def test_a_job_that_is_not_over_never_expires(store, put, raw):
    put(store, state=State.RUNNING)
    assert raw.ttl(store._layout.job("a")) == -1


@pytest.mark.case(52)
def test_retention_counts_from_the_jobs_end(store, put, raw, settings):
    settings.IMMORTUS_RETENTION = 7 * DAY
    finish(put, store, finished_at=-2 * DAY)
    assert 5 * DAY - 10 < raw.ttl(store._layout.job("a")) <= 5 * DAY
    put(store, message="a late word changes nothing")
    assert 5 * DAY - 10 < raw.ttl(store._layout.job("a")) <= 5 * DAY


def test_a_job_that_comes_back_to_life_does_not_expire(store, put, raw):
    finish(put, store, state=State.LOST)
    put(store, state=State.RUNNING, finished_at=None)
    assert raw.ttl(store._layout.job("a")) == -1
    assert store.prune(-10) == 0


@pytest.mark.case(52)
def test_a_record_and_its_places_in_the_indexes_go_together(store, put, raw):
    finish(put, store, owner="ann", job_class="x", finished_at=-10)
    assert store.prune(5) == 1
    assert keys(raw, store) == set()


def test_what_expired_is_not_listed_and_leaves_nothing_behind(store, put, raw, settings):
    settings.IMMORTUS_RETENTION = 0.05
    finish(put, store, owner="ann", job_class="x")
    put(store, "b", owner="ann", state=State.RUNNING)
    time.sleep(0.1)
    assert [job.job_id for job in store.list(Filter(owner="ann"))] == ["b"]
    assert raw.zcard(store._layout._key("owner", "ann")) == 1
    assert store.prune(0.05) == 1
    finish(put, store, "b", finished_at=-1)
    store.prune(0.05)
    assert keys(raw, store) == set()


def test_many_that_expired_at_once_are_forgotten_a_page_at_a_time(store, put, raw, monkeypatch):
    for n in range(120):
        finish(put, store, f"old-{n}")
    put(store, "living", state=State.RUNNING, version=-1)
    raw.delete(*(store._layout.job(f"old-{n}") for n in range(120)))
    forgotten = []
    forget = RedisStore._forget
    monkeypatch.setattr(RedisStore, "_forget", lambda self, *of: forgotten.append(len(of[1])) or forget(self, *of))
    assert [job.job_id for job in store.list(Filter(), limit=10)] == ["living"]
    assert forgotten == [50, 50, 20]
    assert raw.zcard(store._layout._key("all")) == 1


def test_a_listing_takes_the_shortest_way_to_what_is_wanted(store, put, round_trips):
    for n in range(120):
        finish(put, store, f"usual-{n}", job_class="usual", owner="bob")
    finish(put, store, "rare", job_class="rare", owner="bob")
    wanted = Filter(job_class="rare", owner="bob", states=frozenset({State.FINISHED}))
    store.list(wanted)
    round_trips.clear()
    assert [job.job_id for job in store.list(wanted)] == ["rare"]
    assert len(round_trips) == 3


def test_a_job_made_anew_after_it_expired_is_not_pruned_with_its_past(store, put, settings):
    settings.IMMORTUS_RETENTION = 0.05
    finish(put, store)
    time.sleep(0.1)
    put(store, state=State.RUNNING)
    store.prune(0.05)
    assert [job.job_id for job in store.list(Filter())] == ["a"]


def test_about_every_hundredth_end_of_a_job_prunes_a_little(store, put):
    finish(put, store, "old", version=1, finished_at=-6 * DAY)
    with store._redis() as client:
        client.persist(store._layout.job("old"))
        client.hset(store._layout.job("old"), "ended", 1)
        client.zadd(store._layout._key("over"), {client.zrange(store._layout._key("over"), 0, 0)[0]: 1})
    finish(put, store, "x", version=199)
    put(store, "y", state=State.RUNNING, version=200)
    assert store.get_many(["old"]).jobs
    finish(put, store, "z", version=200)
    assert not store.get_many(["old"]).jobs


# Servers and their trouble


def test_all_keys_are_in_one_slot_of_a_cluster(store, put, raw):
    put(store, "{b}", owner="{c}", lease_until=1, lease_holder="run")
    finish(put, store, owner="{c}")
    assert len(keys(raw, store)) > 5
    assert {key.partition("}")[0] for key in keys(raw, store)} == {store._layout._tag[:-1]}


def test_nothing_connects_before_the_first_call(round_trips):
    with pytest.raises(StoreUnavailable):
        RedisStore(f"redis://127.0.0.1:{free_port()}/0").get_many(["a"])
    RedisStore()
    assert round_trips == []


def test_an_address_that_is_none_is_a_configuration_error():
    with pytest.raises(StoreNotFound, match="scheme"):
        load_store({"BACKEND": "redis", "OPTIONS": {"url": "localhost"}})


def test_a_server_that_forgot_the_scripts_is_told_them_again(store, put, raw):
    put(store)
    raw.script_flush()
    put(store, message="new")
    assert store.get_many(["a"]).jobs["a"].message == "new"


def test_a_connection_that_redis_has_closed_is_opened_again(store, put, raw):
    put(store)
    raw.client_kill_filter(_type="normal", skipme=True)
    assert "a" in store.get_many(["a"]).jobs


def test_what_an_interrupted_command_leaves_is_nobody_s_answer(store, put):
    put(store)
    with suppress(KeyboardInterrupt), store._redis() as client:
        client.connection.send_command("BLPOP", "nothing", 0.1)  # its answer comes later
        raise KeyboardInterrupt
    assert "a" in store.get_many(["a"]).jobs


def test_commands_at_the_same_time_have_connections_that_are_used_again(store):
    with store._redis() as one, store._redis() as other:
        ids = {one.client_id(), other.client_id()}
    assert len(ids) == 2
    for _ in range(3):
        with store._redis() as client:
            assert client.client_id() in ids


@pytest.fixture
def server():
    with RedisServer(keeps_data=True) as own:
        yield own


@pytest.fixture
def on_server(server, opened) -> RedisStore:
    return opened(Place(backend="redis", options={"url": server.url, "prefix": uuid.uuid4().hex}))


def test_a_killed_redis_is_store_unavailable_and_works_once_it_is_back(on_server, server, put):
    put(on_server, message="kept")
    server.kill()
    with pytest.raises(StoreUnavailable):
        on_server.get_many(["a"])
    server.start()
    assert on_server.get_many(["a"]).jobs["a"].message == "kept"
    put(on_server, message="new")
    server.kill()
    server.start()
    put(on_server, message="newer")
    assert on_server.get_many(["a"]).jobs["a"].message == "newer"


def test_a_frozen_redis_is_store_unavailable_within_a_second(on_server, server, put):
    put(on_server)
    calls = (
        lambda: put(on_server),
        lambda: on_server.positions(["a"]),
        lambda: on_server.renew({"a": "run"}, 1),
        lambda: on_server.list(Filter()),
        lambda: on_server.prune(1),
    )
    server.freeze()
    try:
        for call in calls:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                call()
            assert time.monotonic() - began < 1
    finally:
        server.thaw()
    put(on_server, message="new")


def test_a_redis_that_refuses_to_write_is_store_unavailable(on_server, put):
    with on_server._redis() as client:
        client.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="memory"):
        put(on_server)


def test_a_job_that_never_holds_still_is_given_up(store, put):
    put(store)

    def change(job, _now):
        changed = put(store, message=job.message + ".")
        return Job(job_id="a", version=changed.version + 1)

    with pytest.raises(StoreUnavailable, match="100 times"):
        store.update("a", change)


def test_pruning_that_fails_does_not_fail_the_write(store, put, raw, caplog):
    put(store, "z", state=State.RUNNING, version=1)
    real = store._run
    store._run = lambda script, *rest: real("nonsense" if "over" in rest[0][0] else script, *rest)
    finish(put, store, "z", version=200)
    assert "could not prune old jobs" in caplog.text
    assert store.get_many(["z"]).jobs["z"].is_over


def in_child(store, answers):
    answers.put([store.get_many(["a"]).jobs["a"].message for _ in range(50)])


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("is_closed", [True, False])
def test_a_fork_does_not_share_a_connection(store, put, is_closed):
    put(store, message="same")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def run():
        if is_closed:
            store.close()
        in_child(store, answers)

    child = context.Process(target=run)
    child.start()
    for _ in range(200):
        assert store.get_many(["a"]).jobs["a"].message == "same"
    assert answers.get(timeout=10) == ["same"] * 50
    child.join()
    answers.close()
