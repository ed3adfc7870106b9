"""The process that starts jobs at a steady pace, as the views of a site would.

Run as `python -m tests.soak.starter RATE SECONDS`. Prints the id of each job that was started, and "-" for each that
could not be because the broker is away.
"""

from __future__ import annotations

import os
import random
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import django

AT_ONCE = 16


def start(task: object) -> None:
    """Start one job of half a second to five."""
    job_id = str(uuid.uuid4())
    try:
        task.apply_async(kwargs={"seconds": random.uniform(0.5, 5)}, task_id=job_id)
    except Exception:  # noqa: BLE001 - whatever it is, no page is shown to anybody
        job_id = "-"
    sys.stdout.write(f"{job_id}\n")
    sys.stdout.flush()


def main(rate: float, seconds: float) -> None:
    """Start so many a second, each when its time has come or as soon as one of those before is out of the way."""
    django.setup()
    import tests.project.celery  # noqa: F401, PLC0415 - Django first
    from tests.soak import tasks  # noqa: PLC0415

    task = tasks.walk_beside if "BESIDE" in os.environ else tasks.walk
    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        calls = []
        for n in range(round(seconds * rate)):
            time.sleep(max(begin + n / rate - time.monotonic(), 0))
            calls = [call for call in calls if not call.done()]
            if time.monotonic() > begin + seconds:
                break
            if len(calls) < 2 * AT_ONCE:
                calls.append(threads.submit(start, task))


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
