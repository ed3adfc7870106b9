#!/usr/bin/env bash
# One expects a sweep of SAQ to put back what was stuck: a job past its timeout or heartbeat. On Redis, a worker moves a
# job into the list of active ones first and writes that it is active afterwards. A sweep in between, such as that of a
# worker that starts just then, finds a job in that list that is "queued", takes it for stuck and puts it back: two
# workers run it, with retries=1 too. Likewise, a sweep that finds the end of the first of two runs on record aborts the
# second.
#
# saq 0.26.4, redis-py 7.4.1, a redis-server of its own. Source: RedisQueue.sweep in saq/queue/redis.py; Worker.process in saq/worker.py.
set -euo pipefail
dir=$(mktemp -d)
redis=""
trap 'kill $redis 2>/dev/null || true; wait || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "saq[redis]==0.26.4" redis==7.4.1 typing_extensions
command -v redis-server >/dev/null || { echo "redis-server is needed: apt install redis-server" >&2; exit 1; }
port=$("$dir/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save "" --dir "$dir" >/dev/null & redis=$!
export BROKER="redis://127.0.0.1:$port/0"
sleep 1
cat > "$dir/tried.py" <<'PY'
import asyncio
import os
from importlib.metadata import version

from saq import Queue


async def tried():
    one, other = Queue.from_url(os.environ["BROKER"]), Queue.from_url(os.environ["BROKER"])
    await one.connect()
    await other.connect()
    sent = await one.enqueue("paint")
    taken = await one.dequeue(timeout=1)
    swept = await other.sweep(abort=0.5)
    again = await other.dequeue(timeout=1)
    print("saq", version("saq"), "retries", sent.retries)
    print("one worker has", taken.key, "a sweep puts back", swept, "another worker has", again and again.key)
    assert again is not None and again.key == taken.key == sent.key


asyncio.run(tried())
PY
"$dir/venv/bin/python" "$dir/tried.py"
