#!/usr/bin/env bash
# One expects Reject(requeue=True) to put the message back, so that a worker takes it again. By default Celery acknowledges
# a message before it runs the task, and a rejection does nothing once that was done: the task runs once, logs that it was
# rejected, and is never run again; the result backend, where there is one, says nothing of it. With acks_late=True it comes
# back. The guide says that Reject is of use with acks_late; nothing warns where that is missing.
#
# celery 5.7.0, kombu 5.7.0. Source: Request.reject and on_failure in celery/worker/request.py (`if not self.acknowledged`).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0
cat > "$dir/tried.py" <<'PY'
import time

from celery import Celery, __version__
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Reject

app = Celery("tried", broker="memory://", backend="cache+memory://", set_as_current=False)
runs = {"early": 0, "late": 0}


def put_back_once(name):
    runs[name] += 1
    if runs[name] == 1:
        raise Reject("not now", requeue=True)


@app.task(name="early")
def early():
    put_back_once("early")


@app.task(name="late", acks_late=True)
def late():
    put_back_once("late")


with start_worker(app, perform_ping_check=False, pool="solo"):
    results = {"early": early.delay(), "late": late.delay()}
    time.sleep(5)
    print("celery", __version__)
    for name, result in results.items():
        print(f"{name:6} acknowledgement: {runs[name]} runs, the backend says {result.state}")
assert runs == {"early": 1, "late": 2}, runs
PY
"$dir/venv/bin/python" "$dir/tried.py"
