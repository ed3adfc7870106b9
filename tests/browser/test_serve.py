"""The demo's one command starts everything, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.browser.conftest import ROOT, free_port, start_demo

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the process table in /proc"),
    pytest.mark.slow,
]


def descendants(pid: int) -> set[int]:
    """All processes below `pid`, however deep."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def all_gone(pids: set[int], within: float = 15.0) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not any(_is_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_web_server_and_the_whole_worker(tmp_path, by):
    demo = start_demo(tmp_path)
    family = descendants(demo.process.pid)
    assert len(family) >= 4  # Daphne, the worker, and the worker's two processes
    assert demo.stop(by) == 0
    assert all_gone(family)


AS_IN_A_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs a command that heeds Ctrl-C; what is started in the background, as these tests may be, ignores it."""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed: apt install make")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_make_alone_stops_everything_too(tmp_path, by):
    port = free_port()
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"demo:\n\t@PORT={port} exec $(PYTHON) {ROOT / 'example' / 'serve.py'}\n")
    # Without what a `make test` around this would hand down: its PYTHON is not the one that has the packages.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "DEMO_VAR": str(tmp_path / "var"), "PYTHON": sys.executable}
    make_demo = ["make", "--no-print-directory", "-C", str(tmp_path), "demo"]
    make = subprocess.Popen([sys.executable, "-c", AS_IN_A_TERMINAL, *make_demo], env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/")
        family = descendants(make.pid)
        make.send_signal(by)
        make.wait(timeout=30)
        assert all_gone(family)
    finally:
        make.kill()  # without it the demo ends too
        make.wait(timeout=30)


def wait_for(url: str, within: float = 120.0) -> None:
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"nothing answers at {url}")


def test_a_port_that_is_taken_is_told_with_what_to_do(tmp_path, demo):
    port = demo.url.rsplit(":", 1)[1].strip("/")
    second = subprocess.run(
        [sys.executable, str(ROOT / "example" / "serve.py")],
        env={**os.environ, "PORT": port, "DEMO_VAR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert second.returncode == 1
    assert f"port {port} is taken" in second.stderr
    assert f"make demo PORT={int(port) + 1}" in second.stderr


@pytest.mark.parametrize(
    ("queue", "says"),
    [
        ("carrier-pigeon", "QUEUE=carrier-pigeon is none of celery, django-tasks, huey, "),
        ("rq", "RQ needs a Redis; try: REDIS_URL=redis://127.0.0.1:6379/0 make demo QUEUE=rq"),
        ("dramatiq", "make demo QUEUE=dramatiq"),
        ("procrastinate", "Procrastinate needs a PostgreSQL; try: DATABASE_URL=postgresql://"),
    ],
)
def test_a_queue_that_cannot_be_had_is_told_in_one_line(tmp_path, queue, says):
    inherited = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL"}}
    refused = subprocess.run(
        [sys.executable, str(ROOT / "example" / "serve.py")],
        env={**inherited, "QUEUE": queue, "DEMO_VAR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert says in refused.stderr
