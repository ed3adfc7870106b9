"""A page that stays open for days: what a thousand sockets leave behind, and what it does while it is frozen."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, CDPSession, Page

import immortus_channels
from immortus_channels.jobs import Job, State

websockets = pytest.importorskip("websockets.asyncio.server")

STATIC = Path(immortus_channels.__file__).parent / "static" / "immortus_channels"
HELLO = {"type": "hello", "ping_ms": 20_000, "max_jobs": 100}
RECONNECTS = 1_000
KIB = 1024


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

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with websockets.serve(
            self._meet, "127.0.0.1", 0, subprotocols=["immortus.v1"], process_request=self._greet
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._started.set()
            await self._over.wait()

    async def _greet(self, *_: object) -> None:
        await asyncio.sleep(self.slow)

    async def _meet(self, socket: Any) -> None:
        await socket.send(json.dumps(HELLO))
        async for text in socket:
            job_id = json.loads(text)["job_id"]
            self.told += 1
            document = Job(job_id=job_id, state=State.RUNNING, version=self.told).document
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
    page = context.new_page()
    document = json.dumps(Job(job_id="a", state=State.RUNNING, version=1).document)
    page.route("http://127.0.0.1/**", lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
    page.route("**/verify/**", lambda route: route.fulfill(content_type="application/json", body=document))
    yield page
    context.close()


def follow(page: Page, cutter: Cutter) -> None:
    page.goto("http://127.0.0.1/")
    page.add_script_tag(path=STATIC / "immortus.js")
    page.evaluate(
        """(port) => {
          window.latest = 0;
          Immortus.configure({ websocket: `ws://127.0.0.1:${port}/` });
          Immortus.verify("a").then(null, null, ({ version }) => (latest = version));
        }""",
        cutter.port,
    )


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
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 5
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] + 500 * KIB


def test_a_frozen_page_gives_its_socket_back_and_has_another_when_it_thaws(page: Page, cutter: Cutter) -> None:
    cutter.holds = True
    follow(page, cutter)
    page.wait_for_function("latest === 1")
    cdp = page.context.new_cdp_session(page)
    cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    for _ in range(100):
        if cutter.codes:
            break
        threading.Event().wait(0.05)
    assert cutter.codes == [1005]
    cdp.send("Page.setWebLifecycleState", {"state": "active"})
    page.wait_for_function("latest === 2", timeout=3_000)


def test_twelve_tabs_with_slow_handshakes_all_come_to_their_sockets(browser: Browser, cutter: Cutter) -> None:
    cutter.holds, cutter.slow = True, 1.5
    context = browser.new_context()
    context.route("http://127.0.0.1/**", lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
    tabs = [context.new_page() for _ in range(12)]
    for tab in tabs:
        follow(tab, cutter)
    for tab in tabs:
        tab.wait_for_function("latest > 0", timeout=40_000)
    context.close()
    assert cutter.told == 12
