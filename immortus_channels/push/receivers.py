"""The hubs, and others, that hear within this process what is pushed."""

from __future__ import annotations

from typing import Protocol

from immortus_channels.push.messages import Push, Revocation


class Receiver(Protocol):
    """Takes what is told within this process, from any thread, without blocking and without raising."""

    def receive(self, push: Push) -> None:
        """Take a push for a job that may be watched here."""
        ...

    def reconsider(self, revocation: Revocation) -> None:
        """Ask again whether those whom it is about may see what they watch here."""
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
    """All of them now."""
    return _current
