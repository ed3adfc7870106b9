#!/usr/bin/env bash
# One expects task_failure to bring the exception that the task raised, with its __cause__: the signal is sent in the
# process that ran the task, so nothing has to travel. Where pickle cannot take the exception (a class of one's own with a
# keyword in its constructor is enough), receivers get a stand-in, UnpickleableExceptionWrapper, without cause or context.
# Whoever looks for the reason of a failure there, as error trackers and audit logs do, finds none. sys.exception() has it.
#
# celery 5.7.0, kombu 5.7.0. Source: handle_failure and _log_error in celery/app/trace.py; get_pickleable_exception in
# celery/utils/serialization.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0
cat > "$dir/tried.py" <<'PY'
import sys

from celery import Celery, __version__, signals

app = Celery("tried", broker="memory://localhost/", set_as_current=False)
app.conf.task_always_eager = True
told = []


class Plain(Exception):
    pass


class Keyword(Exception):
    def __init__(self, *, why):
        super().__init__(why)


@app.task
def wraps(plain):
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise Plain("wrapped") if plain else Keyword(why="wrapped") from error


def failed(exception, **_):
    told.append((type(exception).__name__, repr(exception.__cause__), type(sys.exception()).__name__))


signals.task_failure.connect(failed)
wraps.delay(True)
wraps.delay(False)
print("celery", __version__)
print("raised   signal's exception             its cause                                 sys.exception()")
for raised, (name, cause, passing) in zip(("Plain", "Keyword"), told):
    print(f"{raised:8} {name:30} {cause:41} {passing}")
assert told[0] == ("Plain", "ZeroDivisionError('division by zero')", "Plain"), told
assert told[1] == ("UnpickleableExceptionWrapper", "None", "Keyword"), told
PY
"$dir/venv/bin/python" "$dir/tried.py"
