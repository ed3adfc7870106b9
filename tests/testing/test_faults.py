"""Faults are plain values, and an answer is what HTTP says it is."""

from __future__ import annotations

import pytest

from immortus_channels.testing import Answer, Faults, LayerFaults


def test_an_answer_knows_its_own_length_and_ends_the_connection():
    assert bytes(Answer(404, b"no")) == (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")


def test_headers_are_added_and_replaced():
    assert b"Content-Length: 99\r\n" in bytes(Answer(200, headers={"Content-Length": "99"}))
    assert b"Location: /login\r\n" in bytes(Answer(302, headers={"Location": "/login"}))


def test_a_status_that_http_does_not_know_is_refused():
    with pytest.raises(ValueError, match="999"):
        bytes(Answer(999))


@pytest.mark.parametrize(
    "mistake", [{"latency": -1}, {"blackhole": "sideways"}, {"answer": 403}, {"slice": "two"}, {"hold_seconds": -1}]
)
def test_a_fault_that_would_never_happen_is_refused(mistake):
    (name,) = mistake
    with pytest.raises(ValueError, match=f"Faults has {name}="):
        Faults(**mistake)


@pytest.mark.parametrize("mistake", [{"drop": 3}, {"fail": "x"}, {"delay": -1}, {"calls": ("group_sent",)}])
def test_a_fault_of_a_layer_that_would_never_happen_is_refused(mistake):
    (name,) = mistake
    with pytest.raises(ValueError, match=f"LayerFaults has {name}="):
        LayerFaults(**mistake)


def test_no_fault_is_the_default():
    assert Faults() == Faults(refuse=False, blackhole="", latency=0, strip=())
