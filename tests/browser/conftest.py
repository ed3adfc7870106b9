"""The example with its real server and worker, and Chromium to look at it."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.chromium import chromium

ROOT = Path(__file__).parents[2]
READY_WITHIN = 120.0
PATIENCE = 45_000
"""Milliseconds."""
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A running `example/serve.py`: its process, its address, and the lines that `reader` has read from it."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]
    reader: threading.Thread

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(by)
        status = self.process.wait(timeout=30)
        self.reader.join(timeout=5)
        return status


def start_demo(var: Path, **environment: str) -> Demo:
    """Start the demo on a free port and return once it says that it is ready."""
    port = free_port()
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL", "HOST", "QUEUE"}
    }
    process = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "example" / "serve.py")],
        env={**inherited, "PYTHONPATH": str(ROOT), "PORT": str(port), "DEMO_VAR": str(var), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ready = threading.Event()
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(process, lines, ready), daemon=True)
    reader.start()
    demo = Demo(process=process, url=f"http://127.0.0.1:{port}/", lines=lines, reader=reader)
    if not ready.wait(READY_WITHIN) or process.poll() is not None:
        demo.stop()
        pytest.fail("the demo did not start:\n" + "".join(lines[-40:]))
    return demo


def _read(process: subprocess.Popen[str], lines: list[str], ready: threading.Event) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ready: "):
                ready.set()
    ready.set()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, at twice the pace at which people see it."""
    running = start_demo(tmp_path_factory.mktemp("demo"), DEMO_PACE="3")
    yield running
    running.stop()


@pytest.fixture(scope="package")
def browser():
    """Closed at the end, as it leaves an event loop running meanwhile."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    """Expectations wait long enough for a job that waits for the jobs of other tests."""
    expect = pytest.importorskip("playwright.sync_api").expect
    expect.set_options(timeout=PATIENCE)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture
def context(browser, demo):
    """One person's browser, with no memory of earlier tests; a mistake on any of its pages fails the test."""
    context = browser.new_context(base_url=demo.url)
    mistakes: list[str] = []
    context.on("weberror", lambda mistake: mistakes.append(str(mistake.error)))
    context.on("console", lambda said: mistakes.append(said.text) if "Content Security Policy" in said.text else None)
    yield context
    context.close()
    assert not mistakes


@pytest.fixture
def page(context):
    page = context.new_page()
    page.goto("/")
    return page


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """A JPEG of four megapixels, with noise so that it is as large as a camera's."""
    width, height = 2464, 1648
    noise = Image.effect_noise((width, height), 60)
    slope = Image.linear_gradient("L").resize((width, height))
    file = io.BytesIO()
    Image.merge("RGB", (slope, noise, slope.rotate(180))).save(file, "JPEG", quality=92)
    return file.getvalue()
