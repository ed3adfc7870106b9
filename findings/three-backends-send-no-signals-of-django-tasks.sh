#!/usr/bin/env bash
# One expects every backend of django.tasks to send task_enqueued, task_started and task_finished, as the framework's own
# do. Those of dj_queue, django-vtasks and chancy send none of them (django-vtasks has signals of its own): what listens
# sees no job at all. django-vtasks' ImmediateBackend calls the framework's, and sends all three.
#
# dj-queue 0.14.2, django-vtasks 3.2.0, chancy 0.26.0, Django 6.1.3, Python 3.12 or later. Source: enqueue() in dj_queue's
# backend.py, django_vtasks/backends/ and chancy/contrib/django/backend.py. The queues are run as far as they need no
# service; for chancy, and for what the other workers do, the source is read.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for python in python3.14 python3.13 python3.12 python3; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
"$python" -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
    dj-queue==0.14.2 django-vtasks==3.2.0 pyzstd==0.20.0 chancy==0.26.0 'psycopg[binary]==3.3.9' Django==6.1.3
cat > "$dir/tasks_of_one.py" <<'PY'
from django.tasks import task


@task
def paint():
    pass
PY
cat > "$dir/tried.py" <<'PY'
import sys
from importlib.util import find_spec
from pathlib import Path

import django
from django.conf import settings

backend, *apps = sys.argv[1:]
settings.configure(
    INSTALLED_APPS=apps,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TASKS={"default": {"BACKEND": backend, "QUEUES": ["default"]}},
    USE_TZ=True,
)
django.setup()
from django.core.management import call_command
from django.tasks import signals
from tasks_of_one import paint

seen = []
for name in ("task_enqueued", "task_started", "task_finished"):
    getattr(signals, name).connect(lambda name=name, **_: seen.append(name), weak=False)
call_command("migrate", verbosity=0)
paint.enqueue()
print(backend, "sent", seen)
expected = ["task_enqueued", "task_started", "task_finished"] if "immediate" in backend else []
assert seen == expected, seen
folder = Path(find_spec(backend.partition(".")[0]).origin).parent
senders = [path for path in folder.rglob("*.py") if "django.tasks.signals" in path.read_text()]
assert not senders, senders
PY
cd "$dir"
"$dir/venv/bin/python" tried.py dj_queue.backend.DjQueueBackend dj_queue
"$dir/venv/bin/python" tried.py django_vtasks.backends.db.DatabaseTaskBackend django_vtasks django_vtasks.db
"$dir/venv/bin/python" tried.py django_vtasks.backends.immediate.ImmediateBackend django_vtasks
if grep -rn --include='*.py' 'tasks.signals\|task_enqueued\|task_started\|task_finished' \
    "$(venv/bin/python -c 'import chancy, pathlib; print(pathlib.Path(chancy.__file__).parent)')"; then exit 1; fi
echo "chancy names none of the signals"
