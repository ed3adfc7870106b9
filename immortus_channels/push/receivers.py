"""The hubs, and other receivers of pushes within this process."""

from __future__ import annotations

from typing import Protocol

from immortus_channels.push.messages import Push, Revocation


class Receiver(Protocol):
    """Receives pushes within this process, from any thread, without blocking and without raising."""

    def receive(self, push: Push) -> None:
        """Take a push for a job that may be watched here."""
        ...

    def reconsider(self, revocation: Revocation) -> None:
        """Check permissions again for the watchers that the revocation concerns."""
        ...


_current: tuple[Receiver, ...] = ()


def add(receiver: Receiver) -> None:
    """Hand every push of this process to `receiver` from now on."""
    global _current  # noqa: PLW0603 - replaced, never changed, so that the writer may iterate without a lock
    _current = (*_current, receiver)


def remove(receiver: Receiver) -> None:
    """Stop handing pushes to `receiver`."""
    global _current  # noqa: PLW0603
    _current = tuple(other for other in _current if other is not receiver)


def current() -> tuple[Receiver, ...]:
    """Return all present receivers."""
    return _current
