"""The whole demo in one command: a web server and a worker, started, watched and stopped together.

`python example/serve.py` prepares the database, starts Daphne and a worker of the task queue, says when the page can be
opened, starts the worker again whenever it dies (one of the page's buttons kills it), and ends both when it is
asked to end, however it is asked.

Environment: PORT (8000), HOST (127.0.0.1), QUEUE (celery), REDIS_URL (none), DATABASE_URL (none, for Procrastinate),
DEMO_VAR (example/var), DEMO_PACE (6 seconds) and DEMO_WORKERS (2 processes, of Celery).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

from queues import Queue, chosen

HERE = Path(__file__).resolve().parent
VAR = Path(os.environ.get("DEMO_VAR", HERE / "var")).resolve()
WORKER_READY = VAR / "worker.ready"
HOST = os.environ.get("HOST", "127.0.0.1")
PORT = int(os.environ.get("PORT", "8000"))
ENVIRONMENT = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "DEMO_VAR": str(VAR)}

MANAGE = (sys.executable, "manage.py")
WEB = (
    *(sys.executable, "-m", "daphne", "--bind", HOST, "--port", str(PORT), "--verbosity", "0"),
    *("--websocket-max-message-size", "16384", "--websocket-max-frame-size", "16384"),
    "config.asgi:application",
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESTART_AFTER = 3.0
"""Seconds between the worker's death and its successor: long enough to see that it is gone."""
GRACE = 3.0
"""Seconds a process has to end by itself."""


class Stopped(BaseException):
    """Somebody asked the demo to end."""


class Make:
    """The `make` that started the demo, if one did; when it goes, so does the demo.

    GNU make hands SIGTERM on to its children, but not SIGINT, which a terminal sends to all of them: make then drops
    its signal handlers and waits. So one that no longer catches SIGINT (seen in /proc, on Linux) is going.
    """

    def __init__(self) -> None:
        self.pid = os.getppid() if "MAKELEVEL" in os.environ else None
        self.caught = self._catches_interrupts()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended, or is about to."""
        if self.pid is None:
            return False
        return os.getppid() != self.pid or (self.caught and not self._catches_interrupts())

    def _catches_interrupts(self) -> bool:
        with suppress(OSError, ValueError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) & (1 << (signal.SIGINT - 1)))
        return False


MAKE = Make()


def main() -> int:
    """Run the demo until it is stopped; return the exit status."""
    for wanted in SIGNALS:
        signal.signal(wanted, _stop)
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        queue = chosen()
        worker = (sys.executable, *queue.worker)
        prepare()
        children["worker"] = start(worker)
        children["web"] = start(WEB)
        wait_until_ready(children, queue)
        print(f"Ready: http://{HOST}:{PORT}/   (Ctrl-C stops everything)", flush=True)
        watch(children, worker)
    except Stopped:
        return 0
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        print(f"The demo cannot run: {error}", file=sys.stderr)
    finally:
        stop(children.values())
    return 1


def prepare() -> None:
    """Make the folders, the database and the demo's two users."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError as error:
            raise RuntimeError(f"port {PORT} is taken ({error.strerror}); try: make demo PORT={PORT + 1}") from error
    for folder in ("broker/control", "media"):
        (VAR / folder).mkdir(parents=True, exist_ok=True)
    WORKER_READY.unlink(missing_ok=True)
    for command in (("migrate", "--verbosity", "0"), ("demo_users",)):
        subprocess.run((*MANAGE, *command), cwd=HERE, env=ENVIRONMENT, check=True)


def start(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start a child that leads a session of its own, so that its children can be reached too."""
    return subprocess.Popen(command, cwd=HERE, env=ENVIRONMENT, start_new_session=True)


def wait_until_ready(children: dict[str, subprocess.Popen[bytes]], queue: Queue) -> None:
    """Return once the page is served and the worker takes jobs, if it is one that says so."""
    for _ in range(600):
        for name, child in children.items():
            if child.poll() is not None:
                raise RuntimeError(f"the {name} ended with status {child.returncode}")
        if (WORKER_READY.exists() or not queue.tells_when_ready) and answers():
            return
        pause()
    raise RuntimeError("the web server or the worker did not get ready within a minute")


def answers() -> bool:
    """Whether the page is served."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{PORT}/", timeout=5):
            return True
    except OSError:
        return False


def watch(children: dict[str, subprocess.Popen[bytes]], worker: tuple[str, ...]) -> None:
    """Keep the worker alive until the web server ends or somebody stops the demo."""
    while children["web"].poll() is None:
        if (status := children["worker"].poll()) is not None:
            print(f"The worker died (status {status}); the next one starts in {RESTART_AFTER:.0f} s.", flush=True)
            reap(children["worker"])
            pause(RESTART_AFTER)
            children["worker"] = start(worker)
        pause()
    raise RuntimeError(f"the web server ended with status {children['web'].returncode}")


def pause(seconds: float = 0.1) -> None:
    """Sleep; stop if the demo's `make` goes."""
    until = time.monotonic() + seconds
    while not MAKE.is_gone:
        if (left := until - time.monotonic()) <= 0:
            return
        time.sleep(min(left, 0.1))
    raise Stopped


def stop(children: Collection[subprocess.Popen[bytes]]) -> None:
    """End all children: first by asking, then for certain, with all that they have started."""
    for child in children:
        child.terminate()
    with suppress(Stopped, subprocess.TimeoutExpired):
        until = time.monotonic() + GRACE
        for child in children:
            child.wait(max(0.0, until - time.monotonic()))
    for unwanted in SIGNALS:
        signal.signal(unwanted, signal.SIG_IGN)
    for child in children:
        reap(child)


def reap(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child's session: its process group, and others, as RQ makes one for each job."""
    for group in {child.pid, *_groups_in(child.pid)}:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    child.wait()


def _groups_in(session: int) -> Iterator[int]:
    if not (program := shutil.which("ps")):
        return  # a bare container
    told = subprocess.run((program, "-A", "-o", "pid="), capture_output=True, text=True, check=True).stdout
    for process_id in map(int, told.split()):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process_id) == session:
                yield os.getpgid(process_id)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
