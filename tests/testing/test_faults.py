"""Faults are plain values, and an answer is what HTTP says it is."""

from __future__ import annotations

import pytest

from immortus_channels.testing import Answer, Faults


def test_an_answer_knows_its_own_length_and_ends_the_connection():
    assert bytes(Answer(404, b"no")) == (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")


def test_headers_are_added_and_replaced():
    assert b"Content-Length: 99\r\n" in bytes(Answer(200, headers={"Content-Length": "99"}))
    assert b"Location: /login\r\n" in bytes(Answer(302, headers={"Location": "/login"}))


def test_a_status_that_http_does_not_know_is_refused():
    with pytest.raises(ValueError, match="999"):
        bytes(Answer(999))


def test_no_fault_is_the_default():
    assert Faults() == Faults(refuse=False, blackhole="", latency=0, strip=())
