#!/usr/bin/env bash
# One expects headers given to self.retry() to be added to those that the message came with, as the arguments, the
# priority and the queue of a message are kept by a retry. They replace all of them: whatever the sender had put into the
# headers (a tenant, a trace, an owner) is gone from the second attempt on. A retry without headers keeps them.
#
# celery 5.7.0, kombu 5.7.0. Source: Task.signature_from_request and Task.retry in celery/app/task.py: the options of the
# request are updated with what retry() was given, key by key, and `headers` is one key.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0
cat > "$dir/tried.py" <<'PY'
from celery import Celery, __version__
from celery.contrib.testing.worker import start_worker

app = Celery("tried", broker="memory://localhost/", backend="cache+memory://", set_as_current=False)
app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
seen = {}


@app.task(bind=True, max_retries=1)
def twice(self, headers):
    attempts = seen.setdefault(bool(headers), [])
    attempts.append((self.request.headers or {}).get("tenant"))
    if len(attempts) == 1:
        raise self.retry(countdown=0, **({"headers": headers} if headers else {}))


with start_worker(app, perform_ping_check=False, pool="solo", loglevel="CRITICAL"):
    for headers in (None, {"trace": "1"}):
        twice.apply_async((headers,), headers={"tenant": "blue"}).get(timeout=20)
print("celery", __version__)
print("retry():               tenant in attempts 1 and 2:", *seen[False])
print("retry(headers={...}):  tenant in attempts 1 and 2:", *seen[True])
assert seen == {False: ["blue", "blue"], True: ["blue", None]}, seen
PY
"$dir/venv/bin/python" "$dir/tried.py"
