"""What Redis refused, in words for the person who reads the log."""

from __future__ import annotations

from redis import RedisError
from redis.exceptions import AskError, MovedError


def told(error: RedisError) -> str:
    """The error in a sentence. redis-py strips the word from a redirection, so that a MOVED is but two numbers."""
    if isinstance(error, AskError):
        word = "MOVED" if isinstance(error, MovedError) else "ASK"
        return (
            f"this is one node of a Redis Cluster, and the node at {error.host}:{error.port} has the jobs' keys "
            f"({word} {error.slot_id} {error.host}:{error.port})"
        )
    return str(error) or type(error).__name__
