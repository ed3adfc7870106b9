"""Keys: one text for a namespace and what it names in there, a job's id or an owner; without a namespace, that alone.

Everything below the doors knows a job by its key: stores, writer, pushes and hub.
"""

from __future__ import annotations

SEPARATOR = "\x1f"
"""ASCII's separator of units, which no id and no namespace has in it."""
MAX_LENGTH = 255
"""Characters of an id."""
MAX_NAMESPACE = 63
"""As many characters as PostgreSQL takes for the name of a schema."""
MAX_KEY = MAX_NAMESPACE + len(SEPARATOR) + MAX_LENGTH


def key_of(namespace: str, name: str) -> str:
    """Return the key of what has this name in the namespace."""
    return f"{namespace}{SEPARATOR}{name}" if namespace else name


def name_in(key: str) -> str:
    """Return the name in a key: a job's id, as its own namespace knows it."""
    return key.rpartition(SEPARATOR)[2]


def namespace_of(key: str) -> str:
    """Return the namespace of a key."""
    return key.rpartition(SEPARATOR)[0]
