"""Trouble: logged when it begins and when it ends, and not tried again and again."""

from __future__ import annotations

from immortus_channels.trouble import Breaker, Trouble


def test_the_breaker_lets_one_try_through_after_its_rest():
    breaker = Breaker()
    for _ in range(Breaker.FAILURES - 1):
        breaker.failed(0.0, slowly=False)
    assert breaker.allows(0.0)
    breaker.failed(0.0, slowly=False)
    assert not breaker.allows(Breaker.REST - 0.1)
    assert breaker.allows(Breaker.REST)
    breaker.failed(Breaker.REST, slowly=False)
    assert not breaker.allows(Breaker.REST + 0.1), "half open: one failure is enough"
    breaker.succeeded()
    breaker.failed(9.0, slowly=False)
    assert breaker.allows(9.0)
    breaker.failed(9.0, slowly=True)
    assert not breaker.allows(9.1)


def test_trouble_is_logged_when_it_begins_and_when_it_ends(caplog):
    trouble = Trouble("Listening", "Polling goes on.")
    trouble.end()
    for _ in range(3):
        trouble.begin(ConnectionError("refused"))
    for _ in range(3):
        trouble.end()
    assert caplog.messages == ["Listening fails (ConnectionError: refused). Polling goes on.", "Listening works again."]
