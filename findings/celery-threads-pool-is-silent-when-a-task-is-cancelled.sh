#!/usr/bin/env bash
# One expects a task that is left by asyncio.CancelledError (or by SystemExit, as when it calls a management command) to
# fail: in the prefork pool it does, with a log line. In the pool "threads" nothing says that it ended. The state stays
# PENDING, no signal of failure comes, nothing is logged at any level, and get() waits for ever; the worker goes on.
# CancelledError is what comes out of asyncio.run() when the coroutine was cancelled, and no Exception since Python 3.8.
#
# celery 5.7.0, kombu 5.7.0. Source: trace_task in celery/app/trace.py re-raises it; the pool's future in
# celery/concurrency/thread.py takes it, and nobody asks that future.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0
cat > "$dir/tried.py" <<'PY'
import asyncio
import logging
import time

from celery import Celery, __version__, signals
from celery.contrib.testing.worker import start_worker

app = Celery("tried", broker="memory://localhost/", backend="cache+memory://", set_as_current=False)
app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
told, logged = [], []


class Keep(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING and "cancelled" in record.getMessage():
            logged.append(record.getMessage())


logging.getLogger().addHandler(Keep())
note = lambda sender, signal, **_: told.append(sender.name)
signals.task_failure.connect(note)


@app.task(name="raises")
def raises():
    raise ValueError


@app.task(name="cancelled")
def cancelled():
    async def main():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    asyncio.run(main())


@app.task(name="after")
def after():
    return "the worker goes on"


with start_worker(app, perform_ping_check=False, pool="threads", loglevel="CRITICAL"):
    first, second = raises.delay(), cancelled.delay()
    print("celery", __version__)
    print(after.delay().get(timeout=20))
    time.sleep(3)
    print("raises ValueError:      ", first.state)
    print("leaves by CancelledError:", second.state)
    print("task_failure was sent for:", told, " log lines about it:", len(logged))
    assert (first.state, second.state, told, logged) == ("FAILURE", "PENDING", ["raises"], [])
PY
"$dir/venv/bin/python" "$dir/tried.py"
