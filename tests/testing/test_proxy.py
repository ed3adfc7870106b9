"""The faulty proxy does to connections exactly what it was told, also while they are open."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from immortus_channels.testing import Answer, Faults, FaultyProxy

SIZE = 100_000


def page(connection, request):
    """Plain requests are answered with a body; what the server heard comes back in a header."""
    if request.path == "/socket":
        return None
    response = connection.respond(HTTPStatus.OK, "x" * SIZE)
    response.headers["Heard"] = ",".join(sorted(name.lower() for name in request.headers))
    return response


def echo(connection):
    with suppress(ConnectionClosed):
        for message in connection:
            connection.send(message)


@pytest.fixture(scope="module")
def port():
    """A server that answers every request and echoes every message."""
    with serve(echo, "127.0.0.1", 0, process_request=page, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(port):
    with FaultyProxy(port) as proxy:
        yield proxy


def get(proxy, timeout=5.0):
    with httpx.Client(timeout=timeout) as client:
        return client.get(f"{proxy.url}/")


def opened(proxy, **options):
    return connect(f"ws://127.0.0.1:{proxy.port}/socket", proxy=None, compression=None, ping_interval=None, **options)


@contextmanager
def taking(least, most=5.0):
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began <= most


def silent(socket, seconds=0.3):
    with pytest.raises(TimeoutError):
        socket.recv(timeout=seconds)
    return True


def test_without_faults_nothing_happens(proxy):
    assert get(proxy).text == "x" * SIZE
    with opened(proxy) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
        assert proxy.open == 1
    assert proxy.counts["connections"] == 2
    assert proxy.counts["upgrades"] == 1
    assert proxy.counts["down"] > SIZE


def test_a_refused_connection_is_reset(proxy):
    proxy.faults = Faults(refuse=True)
    with pytest.raises(httpx.TransportError):
        get(proxy)
    assert proxy.counts["refused"] == 1


def test_a_hanging_request_is_answered_once_the_fault_is_taken_away(proxy):
    proxy.faults = Faults(hang=True)
    with pytest.raises(httpx.ReadTimeout):
        get(proxy, timeout=0.3)
    threading.Timer(0.3, setattr, (proxy, "faults", Faults())).start()
    with taking(0.25):
        assert get(proxy).status_code == 200
    assert proxy.counts["hung"] == 2


def test_the_proxy_answers_by_itself(proxy):
    proxy.faults = Faults(answer=Answer(503, b"<h1>busy</h1>", {"Retry-After": "7"}))
    answer = get(proxy)
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "<h1>busy</h1>", "7")
    with pytest.raises(InvalidStatus, match="503"):
        opened(proxy)
    assert proxy.counts["answered"] == 2


def test_upgrades_may_have_faults_of_their_own(proxy):
    proxy.upgrades = Faults(answer=Answer(403))
    assert get(proxy).status_code == 200
    with pytest.raises(InvalidStatus, match="403"):
        opened(proxy)
    proxy.faults, proxy.upgrades = Faults(answer=Answer(502)), Faults()
    assert get(proxy).status_code == 502
    with opened(proxy) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"


def test_header_fields_are_stripped_both_ways(proxy):
    assert "accept-encoding" in get(proxy).headers["Heard"]
    proxy.faults = Faults(strip=("Accept-Encoding",))
    assert "accept-encoding" not in get(proxy).headers["Heard"]
    proxy.faults = Faults(strip=("Sec-WebSocket-Accept",))
    with pytest.raises(InvalidHandshake):
        opened(proxy)


@pytest.mark.parametrize("reset", [False, True])
def test_a_socket_is_killed_some_time_after_it_opened(proxy, reset):
    proxy.upgrades = Faults(kill_after=0.3, reset=reset)
    with opened(proxy) as socket, taking(0.2, 3):
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
    assert closed.value.rcvd is None
    assert proxy.counts["killed"] == 1


@pytest.mark.parametrize("reset", [False, True])
def test_all_that_is_open_is_cut_at_once(proxy, reset):
    proxy.faults = Faults(reset=reset)
    with opened(proxy) as socket:
        proxy.cut()
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)
    assert get(proxy).status_code == 200


@pytest.mark.parametrize("way", ["up", "down", "both"])
def test_a_black_hole_keeps_what_is_sent_until_it_ends(proxy, way):
    with opened(proxy) as socket:
        socket.send("before")
        assert socket.recv(timeout=5) == "before"
        proxy.faults = Faults(blackhole=way)
        counted = proxy.counts["up"]
        socket.send("lost?")
        assert silent(socket)
        assert (proxy.counts["up"] > counted) == (way == "down")
        proxy.faults = Faults()
        assert socket.recv(timeout=5) == "lost?"


def test_through_a_black_hole_not_even_the_end_is_heard(port):
    with FaultyProxy(port, Faults(blackhole="down"), http=False) as proxy:
        plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=0.5)
        plain.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        with pytest.raises(TimeoutError):
            plain.recv(1)
        plain.close()


def test_latency_delays_and_does_not_thin_out(proxy):
    with opened(proxy) as socket:
        proxy.faults = Faults(latency=0.2, jitter=0.05)
        with taking(0.4, 2):
            for n in range(10):
                socket.send(str(n))
                time.sleep(0.01)
            assert [socket.recv(timeout=5) for _ in range(10)] == [str(n) for n in range(10)]


def test_bandwidth_is_bytes_a_second(proxy):
    proxy.faults = Faults(bandwidth=4 * SIZE)
    with taking(0.2, 2):
        assert len(get(proxy).text) == SIZE


def test_slices_arrive_whole(proxy):
    proxy.faults = Faults(slice=1)
    with opened(proxy) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"


def test_what_is_held_back_leaves_when_it_is_enough_or_old_enough_or_ends(proxy):
    with opened(proxy) as socket:
        proxy.faults = Faults(hold_bytes=20)
        socket.send("12345")
        assert silent(socket)
        socket.send("1234567890123")
        assert [socket.recv(timeout=5) for _ in range(2)] == ["12345", "1234567890123"]
        proxy.faults = Faults(hold_seconds=0.4)
        with taking(0.3, 2):
            socket.send("old")
            assert socket.recv(timeout=5) == "old"
    proxy.faults = Faults(hold_bytes=10 * SIZE)
    assert len(get(proxy).text) == SIZE


def test_bytes_of_any_protocol_pass(redis_server):
    with FaultyProxy(redis_server.port, http=False) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as plain:
            plain.sendall(b"PING\r\n")
            assert plain.recv(10) == b"+PONG\r\n"
            proxy.faults = replace(proxy.faults, blackhole="down")
            plain.settimeout(0.3)
            plain.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                plain.recv(10)
        with FaultyProxy(1) as nowhere, pytest.raises(httpx.TransportError):
            get(nowhere)


def test_it_stops_with_connections_open_and_leaves_no_thread(port):
    with FaultyProxy(port, Faults(blackhole="both")) as proxy:
        plain = socket.create_connection(("127.0.0.1", proxy.port))
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        time.sleep(0.1)
    plain.close()
    assert "faulty-proxy" not in {thread.name for thread in threading.enumerate()}
