"""`run_huey` with greenlets: like a project's `manage.py`, it has gevent patch the standard library first."""

from __future__ import annotations

import sys

from gevent import monkey

monkey.patch_all()

from django.core.management import execute_from_command_line  # noqa: E402 - it must be patched

if __name__ == "__main__":
    execute_from_command_line(["manage.py", "run_huey", *sys.argv[1:]])
