"""Peers: a visitor's own address is known, a proxy's is nobody's."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from immortus_channels.access import visitors

PROXY, VISITOR = "203.0.112.7", "8.8.8.8"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fd00::1", "::ffff:10.0.0.1", "", None, "unix", "testserver"],
)
def test_a_private_address_is_a_proxys(address):
    assert visitors.known_by(address, {}) is None


def test_whoever_has_one_address_of_ipv6_has_many():
    known = {visitors.known_by(f"2606:4700:1:2::{n:x}", {}) for n in range(1, 9)}
    assert known == {"2606:4700:1:2::/64"}
    assert visitors.known_by("2606:4700:1:3::1", {}) not in known


@pytest.mark.parametrize("address", [VISITOR, f"::ffff:{VISITOR}"])
def test_a_public_address_is_the_same_through_a_listener_for_both_families(address):
    assert visitors.known_by(address, {}) == VISITOR


PASSED_ON = [
    {"X-Forwarded-For": "198.51.99.1"},
    {"X-Forwarded-For": "unknown"},
    {"X-Forwarded-For": "10.0.0.7, 198.51.99.1"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Host": "www.example.com"},
    {"X-Real-IP": "198.51.99.1"},
    {"Forwarded": "for=198.51.99.1;proto=https"},
    {"Forwarded": 'for="[2606:4700::1]:4711"'},
    {"Via": "1.1 cache"},
    {"CF-Connecting-IP": "198.51.99.1"},
]


@pytest.mark.parametrize("headers", PASSED_ON, ids=str)
def test_visitors_behind_a_proxy_with_a_public_address_are_not_one_visitor(headers):
    request = RequestFactory().get("/", REMOTE_ADDR=PROXY, headers=headers)
    assert visitors.of_request(request) is None
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    assert visitors.of_scope({"client": (PROXY, 4711), "headers": raw}) is None
    assert visitors.of_request(RequestFactory().get("/", REMOTE_ADDR=PROXY)) == PROXY
    assert visitors.of_scope({"client": (PROXY, 4711), "headers": []}) == PROXY


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        (VISITOR, {"X-Forwarded-For": VISITOR}),
        (VISITOR, {"X-Forwarded-For": f"1.2.3.4, {VISITOR}", "X-Forwarded-Proto": "https"}),
        (VISITOR, {"Forwarded": f"for={VISITOR};proto=https"}),
        (VISITOR, {"X-Real-IP": VISITOR}),
        (f"::ffff:{VISITOR}", {"X-Forwarded-For": VISITOR}),
    ],
)
def test_an_address_the_server_took_from_its_proxy_is_the_visitor_s(address, headers):
    assert visitors.of_request(RequestFactory().get("/", REMOTE_ADDR=address, headers=headers)) == VISITOR


def test_an_ipv6_address_the_server_took_from_its_proxy_is_the_visitor_s():
    headers = {"Forwarded": 'for="[2606:4700:0:0::1]:4711"'}
    assert (
        visitors.of_request(RequestFactory().get("/", REMOTE_ADDR="2606:4700::1", headers=headers)) == "2606:4700::/64"
    )


def test_a_header_that_comes_twice_to_a_socket_is_read_whole():
    headers = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-for", VISITOR.encode())]
    assert visitors.of_scope({"client": (VISITOR, 1), "headers": headers}) == VISITOR


@pytest.mark.parametrize("scope", [{}, {"client": None}, {"client": ["8.8.8.8", 1], "headers": [(b"via", b"\xff")]}])
def test_a_socket_of_which_nothing_is_known_is_nobodys(scope):
    assert visitors.of_scope(scope) is None
