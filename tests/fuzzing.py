"""What Atheris feeds, one target at a time: `python -m tests.fuzzing decode -max_total_time=60`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

import django
from django.conf import settings


def decode(text: str) -> None:
    """A frame from a client."""
    from immortus_channels.websocket import frames  # noqa: PLC0415 - needs settings

    frames.decode(text)


def push(text: str) -> None:
    """A document in a message of the channel layer, which is what its message says or nothing."""
    from immortus_channels.push.messages import MESSAGE_TYPE, Push  # noqa: PLC0415 - needs settings

    found = Push.from_message({"type": MESSAGE_TYPE, "job_id": "a", "version": 1, "event": "meta", "text": text})
    assert found is None or (found.job_id, found.version) == ("a", 1)


def token(text: str) -> None:
    """An access token that nobody has signed."""
    from immortus_channels.access import tokens  # noqa: PLC0415 - needs settings

    assert tokens.read(text) is None
    assert tokens.read(tokens.PREFIX + text) is None


def origin(text: str) -> None:
    """A page's origin, which is three things or nothing."""
    from immortus_channels.websocket import origins  # noqa: PLC0415 - needs settings

    found = origins.parse(text)
    assert found is None or (found[0] in ("http", "https") and found[1] and 0 < found[2] < 2**16)


TARGETS: dict[str, Callable[[str], None]] = {each.__name__: each for each in (decode, push, token, origin)}


def main(name: str, *options: str) -> None:
    """Feed one target until an option of libFuzzer ends it, or something is found."""
    import atheris  # noqa: PLC0415 - not for every platform

    settings.configure(
        SECRET_KEY="only for fuzzing", INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"]
    )
    django.setup()
    with atheris.instrument_imports(include=["immortus_channels", "django.core.signing"]):
        for module in ("frames", "broadcast", "tokens", "consumers.origins"):
            import_module(f"immortus_channels.{module}")
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *options], lambda data: target(data.decode("utf-8", "surrogateescape")))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
