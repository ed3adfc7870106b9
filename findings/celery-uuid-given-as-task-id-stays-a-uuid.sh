#!/usr/bin/env bash
# One expects a task id to be text everywhere. `apply_async(task_id=uuid.uuid4())` is taken without a word, and since
# kombu writes a UUID into JSON with its type, the worker's request.id, the signals' task_id and AsyncResult.id are UUID
# objects: `request.id == str(id)` is false, string methods raise, and a dictionary keyed by text misses it, while the
# result backend finds the task by either. A task sent without an id has text.
#
# celery 5.7.0, kombu 5.7.0. Source: register_type(UUID, …) in kombu/utils/json.py; Task.apply_async in celery/app/task.py
# passes task_id on as it is.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0
cat > "$dir/tried.py" <<'PY'
import uuid

from celery import Celery, __version__, signals
from celery.contrib.testing.worker import start_worker

app = Celery("tried", broker="memory://localhost/", backend="cache+memory://", set_as_current=False)
app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
told = []
prerun = lambda task_id, **_: told.append(type(task_id).__name__)
signals.task_prerun.connect(prerun)


@app.task(bind=True)
def kind(self):
    return type(self.request.id).__name__


given = uuid.uuid4()
with start_worker(app, perform_ping_check=False, pool="solo", loglevel="CRITICAL"):
    plain = kind.delay()
    mine = kind.apply_async(task_id=given)
    kinds = plain.get(timeout=20), mine.get(timeout=20)
    by_text = app.AsyncResult(str(given)).state
print("celery", __version__)
print("request.id without an id given, with a UUID given:", *kinds)
print("task_id of task_prerun:", *told, "  AsyncResult.id:", type(mine.id).__name__)
print("id == str(id):", mine.id == str(given), "  state asked for by text:", by_text)
assert kinds == ("str", "UUID") and told == ["str", "UUID"] and by_text == "SUCCESS"
PY
"$dir/venv/bin/python" "$dir/tried.py"
