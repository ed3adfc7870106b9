"""A page that stays open for days: what a thousand sockets leave behind, and what it does while it is frozen."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from playwright.sync_api import Browser, CDPSession, Page
from websockets.asyncio.server import serve
from websockets.sync.client import connect

import immortus_channels
from immortus_channels.jobs.job import Job, State
from tests.servers import free_port, need, wait_until

pytestmark = pytest.mark.slow

STATIC = Path(immortus_channels.__file__).parent / "static" / "immortus_channels"
HELLO = {"type": "hello", "ping_ms": 20_000, "max_jobs": 100}
FIRST = Job(job_id="a", state=State.RUNNING, version=1)
RECONNECTS = 1_000
KIB = 1024
FOLLOW = """
  window.latest = 0;
  Immortus.configure({ websocket: "/" });
  Immortus.verify("a").then(null, null, ({ version }) => (latest = version));
  0
"""


class Cutter:
    """A server of sockets that ends each as soon as it has told of a job, or `holds` it; in a thread of its own."""

    def __init__(self) -> None:
        self.told = 0
        self.codes: list[int | None] = []
        self.holds = False
        self.slow = 0.0
        self.loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self.loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with serve(
            self._meet, "127.0.0.1", 0, subprotocols=["immortus.v1"], process_request=self._greet
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._started.set()
            await self._over.wait()

    async def _greet(self, connection: Any, request: Any) -> Any:
        """The page and its first answer; for a socket, the time that its handshake takes."""
        if "Upgrade" in request.headers:
            return await asyncio.sleep(self.slow)
        is_page = request.path == "/"
        response = connection.respond(200, "<!doctype html>" if is_page else FIRST.text)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/html" if is_page else "application/json"
        return response

    async def _meet(self, socket: Any) -> None:
        await socket.send(json.dumps(HELLO))
        async for text in socket:
            job_id = json.loads(text)["job_id"]
            self.told += 1
            document = replace(FIRST, job_id=job_id, version=1 + self.told).document
            await socket.send(json.dumps({"type": "job", "event": "snapshot", "job": document}))
            if not self.holds:
                await socket.send(json.dumps({"type": "bye", "code": 4010, "after_ms": 0}))
        self.codes.append(socket.close_code)


@pytest.fixture
def cutter() -> Iterator[Cutter]:
    with Cutter() as cutter:
        yield cutter


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def follow(page: Page, cutter: Cutter) -> None:
    page.goto(f"http://127.0.0.1:{cutter.port}/")
    page.add_script_tag(path=STATIC / "immortus.js")
    page.evaluate(FOLLOW)


def measured(cdp: CDPSession) -> dict[str, float]:
    """Listeners and bytes of the page after everything that may be forgotten is."""
    for _ in range(3):
        cdp.send("HeapProfiler.collectGarbage")
    metrics = cdp.send("Performance.getMetrics")["metrics"]
    return {one["name"]: one["value"] for one in metrics}


def test_a_thousand_sockets_leave_neither_listeners_nor_memory_behind(page: Page, cutter: Cutter) -> None:
    follow(page, cutter)
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    page.wait_for_function("latest > 100")
    before = measured(cdp)
    page.wait_for_function(f"latest > {100 + RECONNECTS}", timeout=60_000)
    after = measured(cdp)
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 100
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] + 500 * KIB


class Plain:
    """Chromium without Playwright, whose pages cannot be frozen: its one page, by the DevTools protocol."""

    def __init__(self, folder: Path) -> None:
        executable = need(shutil.which("chromium"), "Chromium", "on Debian: apt install chromium")
        self._port = free_port()
        arguments = ["--headless=new", f"--remote-debugging-port={self._port}", f"--user-data-dir={folder}"]
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([executable, *arguments, "about:blank"], **silent)
        self._calls = 0

    def __enter__(self) -> Self:
        wait_until(self._has_page)
        self._open = ExitStack()
        self._socket = self._open.enter_context(connect(self._address, max_size=None))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(10)

    def _has_page(self) -> bool:
        try:
            targets = httpx.get(f"http://127.0.0.1:{self._port}/json").json()
        except httpx.TransportError:
            return False
        pages = [one["webSocketDebuggerUrl"] for one in targets if one["type"] == "page"]
        self._address = pages[0] if pages else ""
        return bool(pages)

    def call(self, method: str, **parameters: Any) -> Any:
        """What the page's DevTools answer."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(10))).get("id") != self._calls:
            pass
        return answer["result"]

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")


@pytest.mark.fault("B1")
def test_a_frozen_page_gives_its_socket_back_and_has_another_when_it_thaws(cutter: Cutter, tmp_path: Path) -> None:
    cutter.holds = True
    with Plain(tmp_path) as page:
        page.call("Page.enable")
        page.call("Page.navigate", url=f"http://127.0.0.1:{cutter.port}/")
        wait_until(lambda: page.evaluate("document.readyState + location.port") == f"complete{cutter.port}")
        page.evaluate((STATIC / "immortus.js").read_text())
        page.evaluate(FOLLOW)
        wait_until(lambda: page.evaluate("latest") == 2)
        page.call("Page.setWebLifecycleState", state="frozen")
        wait_until(lambda: cutter.codes == [1005])
        page.call("Page.setWebLifecycleState", state="active")
        thawed = time.monotonic()
        wait_until(lambda: page.evaluate("latest") == 3)
        assert time.monotonic() - thawed < 3


@pytest.mark.fault("B5")
def test_twelve_tabs_with_slow_handshakes_all_come_to_their_sockets(browser: Browser, cutter: Cutter) -> None:
    cutter.holds, cutter.slow = True, 2.5
    context = browser.new_context()
    tabs = [context.new_page() for _ in range(12)]
    for tab in tabs:
        follow(tab, cutter)
    for tab in tabs:
        tab.wait_for_function("latest > 1", timeout=45_000)
    context.close()
    assert cutter.told == 12
