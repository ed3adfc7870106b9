"""The client: a thousand jobs on one page in Chromium, and ten thousand documents a second pushed to it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Response, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.typing import Subprotocol

import immortus_channels
from benchmarks.processes import Child, Talk
from benchmarks.rows import OURS, Rounds, Row, Scale, at_least, at_most
from benchmarks.sockets import document
from benchmarks.world import World
from tests.chromium import chromium
from tests.servers import free_port

SUBPROTOCOL = Subprotocol("immortus.v1")
JOBS = 1000
PER_SECOND = 10_000
SECONDS = 4
LAST = 2**52
"""The version of the final states."""
FILES = {
    "/": (Path(__file__).parent / "client.html", "text/html"),
    "/immortus.js": (
        Path(immortus_channels.__file__).parent / "static/immortus_channels/immortus.js",
        "text/javascript",
    ),
}


def rows(_: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family; none where Chromium is not installed."""
    if shutil.which("chromium") is None:
        return
    rounds, jobs = Rounds(), scale.of(JOBS, 100)
    for _ in range(scale.rounds):
        port = free_port()
        with Child({}, push, port, jobs, PER_SECOND, scale.seconds(SECONDS)) as server, chromium() as browser:
            server.wait()
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/?jobs={jobs}")
            _measure(page, server, rounds, jobs)
    yield rounds.row("progress callbacks per job and frame, 10,000 documents/s", "calls", at_most(1))
    yield rounds.row("last states told, of 1,000 jobs in one page", "share", at_least(1))
    yield rounds.row("states told late or backwards", "calls", at_most(0))
    yield rounds.row("sent → settled, p50", "ms")
    yield rounds.row("main thread busy", "%", at_most(30))


def _measure(page: Any, server: Child, rounds: Rounds, jobs: int) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    server.go()
    page.wait_for_timeout(500)
    busy, begin = _busy_seconds(session), time.monotonic()
    page.wait_for_timeout(1000)
    share = (_busy_seconds(session) - busy) / (time.monotonic() - begin)
    server.wait()
    page.wait_for_timeout(500)
    told = page.evaluate("told")
    rounds.add("main thread busy", OURS, share * 100)
    repeated = 1 + told["repeated"] / max(told["progress"] - told["repeated"], 1)
    rounds.add("progress callbacks per job and frame, 10,000 documents/s", OURS, repeated)
    rounds.add("last states told, of 1,000 jobs in one page", OURS, told["settled"] / jobs)
    rounds.add("states told late or backwards", OURS, told["unsettled"])
    settling = sorted(told["settling"])
    rounds.add("sent → settled, p50", OURS, settling[len(settling) // 2] if settling else None)


def _busy_seconds(session: Any) -> float:
    """How long the page's main thread has worked."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float({metric["name"]: metric["value"] for metric in metrics}["TaskDuration"])


# The server, in its own process


def push(talk: Talk, port: int, jobs: int, rate: int, seconds: float) -> None:
    """Serve the page; when told to, push so many documents a second, then the last of every job."""
    asyncio.run(_serve(talk, port, jobs, rate, seconds))


async def _serve(talk: Talk, port: int, jobs: int, rate: int, seconds: float) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    start = asyncio.Event()

    async def connected(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"type": "hello", "ping_ms": 20_000, "max_jobs": jobs}))
        for _ in range(jobs):
            watch = json.loads(await connection.recv())
            await connection.send(_frame(watch["job_id"], 0, "snapshot"))
        await start.wait()
        await _flood(connection, jobs, rate, seconds)
        over.set_result(None)
        await connection.wait_closed()

    async with serve(connected, "127.0.0.1", port, process_request=_file, compression=None, subprotocols=[SUBPROTOCOL]):
        await asyncio.to_thread(talk.ready)
        start.set()
        await over


async def _flood(connection: ServerConnection, jobs: int, rate: int, seconds: float) -> None:
    """Documents by the hundredth of a second, each job in turn; then the end of all."""
    begin, number = time.monotonic(), 0
    while (now := time.monotonic()) < begin + seconds:
        while number < (now - begin) * rate:
            number += 1
            await connection.send(_frame(f"job-{number % jobs}", number))
        await asyncio.sleep(0.01)
    for job in range(jobs):
        await connection.send(_frame(f"job-{job}", number, state="finished"))


def _frame(job: str, current: int, event: str = "meta", state: str = "running") -> str:
    """A frame of the protocol; `sent_at`, by the clock that the page shares, goes as meta."""
    version = LAST if state == "finished" else current + 1
    told = document(job, current, state)[:-1]
    return f'{{"type":"job","event":"{event}","job":{told},"version":{version},"sent_at":{time.time() * 1000:.3f}}}}}'


def _file(_: ServerConnection, request: Request) -> Response | None:
    """The page and the script; anything else is a WebSocket, or not there."""
    path = request.path.partition("?")[0]
    if path.startswith("/ws/"):
        return None
    if path not in FILES:
        return Response(HTTPStatus.NOT_FOUND, "Not Found", Headers({"Content-Length": "0"}), b"")
    file, kind = FILES[path]
    body = file.read_bytes()
    return Response(HTTPStatus.OK, "OK", Headers({"Content-Type": kind, "Content-Length": str(len(body))}), body)
