#!/usr/bin/env bash
# One expects a page that is given the result of a Huey task, and prints it, to change nothing. A Result is callable, and
# Django's templates call what they can: {{ result }} is result(), which takes the value out of Huey's storage. The page
# shows it once, or None while the task has yet to run; a second rendering, or the code that wanted the value, gets None.
# result.get(preserve=True) leaves it there, and do_not_call_in_templates = True on the object keeps templates from it.
#
# huey 3.5.4, Django 5.2.19. Source: Result.__call__ and Result.get in huey/api.py; Variable._resolve_lookup in
# django/template/base.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check huey==3.5.4 Django==5.2.19
cat > "$dir/tried.py" <<'PY'
from importlib.metadata import version

from django.template import Context, Engine
from huey import MemoryHuey

huey = MemoryHuey(immediate=False)


@huey.task()
def paint():
    return "blue"


page = Engine().from_string("{{ result }}")
result = paint()
huey.execute(huey.dequeue())
fresh = huey.result  # what another process has: the id alone
first = page.render(Context({"result": result}))
left = fresh(result.id)
kept = paint()
huey.execute(huey.dequeue())
kept.get(preserve=True)
print("huey", version("huey"), "django", version("Django"))
print("the page shows", first, "and then Huey has", left)
print("after get(preserve=True) Huey has", fresh(kept.id))
assert (first, left) == ("blue", None), (first, left)
PY
"$dir/venv/bin/python" "$dir/tried.py"
