"""SIGTERM: sockets are sent away first, spread over time; then the server's own handler does what it does."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from immortus_channels import metrics
from immortus_channels.websocket.shutdown import DRAINING, Drain, get_drain, is_draining
from tests.pages import until


class Socket:
    """Leaves when it is asked, or stays for `linger` seconds."""

    def __init__(self, linger=0.0):
        self.told = None
        self._linger = linger
        self._gone = asyncio.Event()

    def leave(self, code, after):
        self.told = code, after
        asyncio.get_running_loop().call_later(self._linger, self._gone.set)

    async def open(self):
        with get_drain().holding(self):
            await self._gone.wait()


@pytest.fixture
def ended():
    """When the server's own handler was called, on this stand-in for a server."""
    times = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: times.append(time.monotonic()))
    yield times
    signal.signal(signal.SIGTERM, before)


async def opened(*sockets):
    tasks = [asyncio.create_task(socket.open()) for socket in sockets]
    await asyncio.sleep(0)
    return tasks


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


async def test_every_socket_is_told_when_to_come_back_before_the_server_ends(ended, settings):
    settings.IMMORTUS_DRAIN = 8
    sockets = [Socket(linger=0.1) for _ in range(100)]
    tasks = await opened(*sockets)
    assert not is_draining()
    terminate()
    await until(lambda: sockets[-1].told)
    assert is_draining()
    assert ended == []
    await asyncio.gather(*tasks)
    assert len(ended) == 1
    assert {socket.told[0] for socket in sockets} == {DRAINING}
    times = sorted(socket.told[1] for socket in sockets)
    assert 0 <= times[0] < 2
    assert 6 < times[-1] <= 8
    for second in range(8):
        assert sum(second <= after < second + 1 for after in times) < 1.5 * 100 / 8 + 12, "spread evenly"


async def test_a_socket_that_does_not_leave_delays_the_server_only_for_the_grace(ended, monkeypatch):
    monkeypatch.setattr(Drain, "GRACE", 0.3)
    tasks = await opened(Socket(), Socket(linger=1))
    began = time.monotonic()
    terminate()
    await until(lambda: ended)
    assert 0.3 <= ended[0] - began < 0.9
    await asyncio.gather(*tasks)
    assert len(ended) == 1, "the server is told once"


async def test_without_sockets_the_server_ends_at_once(ended):
    get_drain()
    terminate()
    assert await until(lambda: ended) < 0.5


async def test_a_second_signal_ends_the_server_at_once(ended):
    tasks = await opened(Socket(linger=0.5))
    terminate()
    await asyncio.sleep(0.1)
    assert ended == []
    terminate()
    assert await until(lambda: ended) < 0.3
    await asyncio.gather(*tasks)
    terminate()
    assert len(ended) == 2, "from then on the signal is the server's again"


async def test_whoever_comes_while_draining_is_sent_away_at_once(ended):
    first, late = Socket(linger=0.3), Socket()
    tasks = await opened(first)
    terminate()
    await until(is_draining)
    tasks += await opened(late)
    assert late.told is not None
    await asyncio.gather(*tasks)


async def test_open_sockets_are_counted():
    before = metrics.SOCKETS.read()
    sockets = [Socket(), Socket()]
    tasks = await opened(*sockets)
    assert metrics.SOCKETS.read() == before + 2
    for socket in sockets:
        socket.leave(1000, 0)
    await asyncio.gather(*tasks)
    assert metrics.SOCKETS.read() == before


@pytest.mark.parametrize("why", ["switched off", "no handler", "another thread"])
async def test_the_signal_is_left_alone(why, ended, settings):
    mine = signal.getsignal(signal.SIGTERM)
    if why == "no handler":
        mine = signal.SIG_DFL
        signal.signal(signal.SIGTERM, mine)
    if why == "switched off":
        settings.IMMORTUS_DRAIN = 0
    if why == "another thread":
        thread = threading.Thread(target=Drain, args=[asyncio.get_running_loop()])
        thread.start()
        thread.join()
    else:
        get_drain()
    assert signal.getsignal(signal.SIGTERM) is mine


def test_a_loop_that_has_ended_does_not_keep_the_server_from_ending(ended):
    async def serve():
        get_drain()

    for _ in range(3):
        asyncio.run(serve())
    terminate()
    assert len(ended) == 1


def test_a_server_that_exits_in_its_handler_exits(ended):
    def leave(signum, frame):
        raise SystemExit(7)

    signal.signal(signal.SIGTERM, leave)

    async def serve():
        get_drain()
        terminate()
        await asyncio.sleep(5)

    with pytest.raises(SystemExit) as exit_:
        asyncio.run(serve())
    assert exit_.value.code == 7
