"""How the Redis store finds its Redis, and what it says when that is not where the jobs are."""

from __future__ import annotations

import multiprocessing

import pytest
from redis import Redis
from redis.exceptions import AskError, MovedError, ReadOnlyError, ResponseError

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.stores.base import Filter
from immortus_channels.stores.redis import RedisStore
from immortus_channels.stores.redis_connection import Target, explain
from tests.servers import ClusteredRedis, RedisServer, WatchedRedis, free_port, wait_until
from tests.stores.places import Place

PAIR = [("localhost", 1), ("localhost", 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentinels": PAIR}, "sentinels and master_name together"),
        ({"master_name": "jobs"}, "sentinels and master_name together"),
        ({"sentinels": PAIR, "master_name": "jobs", "url": "redis://localhost"}, "one of"),
        ({"cluster_nodes": PAIR, "url": "redis://localhost"}, "one of"),
        ({"cluster_nodes": PAIR, "sentinels": PAIR, "master_name": "jobs"}, "one of"),
        ({"cluster_nodes": "localhost:1"}, "list of hosts and ports"),
        ({"cluster_nodes": ["localhost:1"]}, "list of hosts and ports"),
        ({"cluster_nodes": [("localhost", "1")]}, "list of hosts and ports"),
        ({"sentinels": ("localhost", 1), "master_name": "jobs"}, "list of hosts and ports"),
        ({"sentinels": [("localhost",)], "master_name": "jobs"}, "list of hosts and ports"),
    ],
)
def test_a_place_that_is_none_is_told_with_what_is_right(options, message):
    with pytest.raises(ValueError, match=message):
        RedisStore(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"sentinels": PAIR, "master_name": "jobs", "nonsense": 1},
        {"sentinels": PAIR, "master_name": "jobs", "sentinel_kwargs": {"nonsense": 1}},
        {"cluster_nodes": PAIR, "nonsense": 1},
        {"nonsense": 1},
    ],
)
def test_an_option_that_redis_py_lacks_is_refused_before_anything_connects(options):
    with pytest.raises(TypeError, match="nonsense"):
        RedisStore(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"sentinels": [["localhost", 1]], "master_name": "jobs", "password": "p", "ssl": True, "db": 3},
        {"sentinels": tuple(PAIR), "master_name": "jobs", "sentinel_kwargs": {"password": "p"}},
        {"cluster_nodes": [["localhost", 1]], "username": "u", "password": "p", "ssl": True},
        {},
    ],
)
def test_what_a_settings_file_may_say_is_taken_and_nothing_connects(options):
    RedisStore(**options)


@pytest.mark.parametrize("kind", ["sentinels", "cluster_nodes"])
def test_servers_that_are_not_there_are_store_unavailable(kind):
    nowhere = [("127.0.0.1", free_port()), ("127.0.0.1", free_port())]
    store = RedisStore(**{kind: nowhere}, master_name="jobs" if kind == "sentinels" else None)
    for call in (lambda: store.get_many(["a"]), lambda: store.positions([]), lambda: store.list(Filter())):
        with pytest.raises(StoreUnavailable):
            call()


def test_a_password_for_the_sentinels_is_not_the_servers(redis_server: RedisServer):
    target = Target(sentinels=PAIR, master_name="jobs", sentinel_kwargs={"password": "theirs"})
    client = target.opener({"password": "ours", "socket_timeout": 1, "socket_connect_timeout": 1, "retry": None})()
    watch = client.connection_pool.sentinel_manager
    assert client.connection_pool.connection_kwargs["password"] == "ours"
    assert {one.connection_pool.connection_kwargs["password"] for one in watch.sentinels} == {"theirs"}


# Servers that are not the right ones


def test_a_node_of_a_cluster_at_a_fixed_address_says_what_to_give(clustered: ClusteredRedis):
    owner = clustered.master_now()
    other = next(node for node in clustered.nodes[:3] if node is not owner)
    with pytest.raises(StoreUnavailable, match=rf"Redis Cluster.*127.0.0.1:{owner.port}.*cluster_nodes"):
        RedisStore(other.url).get_many(["a"])


def test_a_replica_at_a_fixed_address_says_what_to_give(watched: WatchedRedis, put):
    replica = watched.replica if watched.master_now() is watched.master else watched.master
    with pytest.raises(StoreUnavailable, match="sentinels"):
        put(RedisStore(replica.url))


def test_a_server_that_is_no_cluster_is_told(redis_server: RedisServer):
    with pytest.raises(StoreUnavailable, match=r"[Cc]luster"):
        RedisStore(cluster_nodes=[("127.0.0.1", redis_server.port)]).get_many(["a"])


def test_what_redis_says_of_another_node_is_a_sentence():
    assert "10.0.0.7:7002" in explain(MovedError("12882 10.0.0.7:7002"))
    assert "10.0.0.7:7002" in explain(AskError("12882 10.0.0.7:7002"))
    assert "10.0.0.7:7002" in explain(ResponseError("MOVED 12882 10.0.0.7:7002"))
    assert "sentinels" in explain(ReadOnlyError("You can't write against a read only replica."))
    assert explain(TimeoutError()) == "TimeoutError"


# Failover


@pytest.mark.slow
def test_a_store_follows_a_master_that_hangs_and_does_not_go_back_to_it(put):
    with WatchedRedis() as servers:
        store = RedisStore(**servers.options)
        put(store, message="before")
        with Redis.from_url(servers.replica.url) as client:
            wait_until(lambda: client.keys("*:job:a") != [])
        servers.master.freeze()
        wait_until(lambda: servers.master_now() is servers.replica)
        wait_until(lambda: written(store, put))
        servers.master.thaw()
        for n in range(20):
            put(store, message=str(n))
        with Redis.from_url(servers.replica.url) as client:
            record = next(iter(client.hmget(client.keys("*:job:a")[0], "job")))
        assert b'"19"' in record
        store.close()


def written(store: RedisStore, put) -> bool:
    try:
        put(store, message="after")
    except StoreUnavailable:
        return False
    return True


@pytest.mark.slow
def test_a_cluster_that_was_gone_as_a_whole_is_found_again(put):
    with ClusteredRedis() as servers:
        store = RedisStore(**servers.options)
        put(store)
        for node in servers.nodes:
            node.kill()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                store.get_many(["a"])
        for node in servers.nodes:
            node.start()
        wait_until(lambda: written(store, put))
        store.close()


def in_child(store: RedisStore, answers) -> None:
    answers.put([store.get_many(["a"]).jobs["a"].message for _ in range(50)])


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_a_fork_does_not_share_a_connection(request, kind, opened, put):
    place: Place = request.getfixturevalue(kind)
    store = opened(place)
    put(store, message="same")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=in_child, args=(store, answers))
    child.start()
    for _ in range(200):
        assert store.get_many(["a"]).jobs["a"].message == "same"
    assert answers.get(timeout=10) == ["same"] * 50
    child.join()
    answers.close()


@pytest.mark.redis
def test_a_node_of_a_cluster_that_has_other_keys_says_which_one_has_them(clustered: ClusteredRedis):
    owner = clustered.master_now()
    for node in clustered.nodes[:3]:
        store = RedisStore(node.url)
        for ask in (store.get_many, store.positions):
            if node is owner:
                assert ask(["a"])
                continue
            with pytest.raises(StoreUnavailable, match="Redis Cluster") as refused:
                ask(["a"])
            assert f"127.0.0.1:{owner.port}" in str(refused.value)
        store.close()
