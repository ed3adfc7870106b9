"""What Redis refuses is told so that its reader knows what to do."""

from __future__ import annotations

import pytest
from redis import RedisError
from redis.exceptions import AskError, ConnectionError, MovedError  # noqa: A004 - redis-py's name

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.stores import redis_errors
from immortus_channels.stores.redis import RedisStore
from tests.clusters import redis_cluster


@pytest.mark.redis
def test_a_node_of_a_cluster_that_has_other_keys_says_which_one_has_them():
    with redis_cluster() as nodes:
        refused = []
        for node in nodes:
            store = RedisStore(node.url)
            for ask in (store.get_many, store.positions):
                try:
                    ask(["a"])
                except StoreUnavailable as error:
                    refused.append((node, str(error)))
            store.close()
        assert len(refused) == 2, "both ways of asking one of the two nodes"
        for node, told in refused:
            (owner,) = [other for other in nodes if other is not node]
            assert "Redis Cluster" in told
            assert f"127.0.0.1:{owner.port}" in told
            assert "MOVED" in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MovedError("12882 127.0.0.1:17302"), "(MOVED 12882 127.0.0.1:17302)"),
        (AskError("7 10.0.0.1:6379"), "(ASK 7 10.0.0.1:6379)"),
        (ConnectionError("refused"), "refused"),
        (RedisError(), "RedisError"),
    ],
)
def test_every_error_is_told_in_words(error, told):
    assert told in redis_errors.told(error)
