#!/usr/bin/env bash
# One expects REVOKED in the result backend to be an end: Celery counts it among its READY_STATES and get() raises
# TaskRevokedError. A worker that hears of the revocation writes it at once, before the task's turn has come, and keeps
# the revocation in its memory only. If that worker is restarted before then, the task runs all the same, and the record
# goes from REVOKED to SUCCESS. Whoever polled the state has told of an end that was none. `--statedb` would keep it.
#
# celery 5.7.0, kombu 5.7.0, redis-py 8.1.0, a redis-server of its own. Source: revoke and _revoke in celery/worker/control.py; celery/worker/state.py.
set -euo pipefail
dir=$(mktemp -d)
redis="" pid="" look=""
trap 'kill $pid $look $redis 2>/dev/null || true; wait || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0 redis==8.1.0 packaging==26.3
command -v redis-server >/dev/null || { echo "redis-server is needed: apt install redis-server" >&2; exit 1; }
port=$("$dir/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save "" --dir "$dir" >/dev/null & redis=$!
export BROKER="redis://127.0.0.1:$port/0"
cat > "$dir/tried.py" <<'PY'
import os, time
from celery import Celery

app = Celery("tried", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(worker_prefetch_multiplier=1, task_acks_late=True)


@app.task
def slow():
    time.sleep(5)


@app.task
def later():
    return "ran"
PY
cat > "$dir/look.py" <<'PY'
import sys, time
import celery, tried

first, second = tried.slow.delay(), tried.later.delay()
time.sleep(1.5)
second.revoke()
for _ in range(60):
    if second.state != "PENDING":
        break
    time.sleep(0.05)
before = second.state, first.ready()
print("celery", celery.__version__)
print("while the task before it runs:", *before)
print("-- restart", flush=True)
sys.stdin.readline()
for _ in range(300):
    after = tried.app.AsyncResult(second.id)  # a result remembers an end, and REVOKED is one
    if after.state == "SUCCESS":
        break
    time.sleep(0.1)
print("after the worker's restart:", after.state, after.result)
assert before == ("REVOKED", False) and after.state == "SUCCESS"
PY
cd "$dir"
worker() { venv/bin/celery -A tried worker --concurrency 1 --without-gossip --without-mingle --loglevel CRITICAL >/dev/null 2>&1 & pid=$!; }
worker
mkfifo go
venv/bin/python look.py < go > out & look=$!
exec 3> go
until grep -q -e "-- restart" out; do sleep 0.1; done
kill -TERM "$pid"; wait "$pid" || true
worker
echo go >&3
wait "$look" && grep -v -e "-- restart" out
