"""The process that sends, as a web server would: `python -m tests.queues.suite.sender`.

It reads a request from each line of its input, as JSON, and answers with a line: `{"answer": …}` or `{"error": …}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import django
from django.db import transaction

from tests.queues.suite.driver import Driver


class Sender:
    """Answers requests by the queue's driver."""

    def __init__(self) -> None:
        """Set the project up."""
        django.setup()
        from django.conf import settings

        from tests.queues.suite.project import tasks

        self._driver: Driver = getattr(settings, "DRIVER")  # noqa: B009 - a setting of ours, which no type knows
        self._tasks = tasks
        self._sent: dict[str, Any] = {}

    def send(self, task: str, *args: Any, owner: str | None = None, where: str = "", **options: Any) -> str | None:
        """Send a task and return its job's id; `where` names a transaction that ends well, badly or in part."""
        from immortus_channels import started_by

        user = SimpleNamespace(pk=owner) if owner else None
        with started_by(user):
            sent = self._send_in(where, getattr(self._tasks, task), args, options)
        return self._noted(sent)

    def _send_in(self, where: str, task: Any, args: Any, options: Any) -> Any:
        if not where:
            return self._driver.send(task, *args, **options)
        with self._driver.transaction():
            if where == "savepoint":
                with transaction.atomic():
                    sent = self._driver.send(task, *args, **options)
                    transaction.set_rollback(True)
                return sent
            sent = self._driver.send(task, *args, **options)
            if where == "rolled back":
                transaction.set_rollback(True)
        return sent

    def send_many(self, task: str, count: int) -> list[str]:
        """Send a task so often, by the queue's own means for many; return the jobs' ids."""
        return [self._noted(sent) for sent in self._driver.send_many(getattr(self._tasks, task), count)]

    def _noted(self, sent: Any) -> str:
        from immortus_channels.queues.results import identify

        job_id = str(identify(sent)[0])
        self._sent[job_id] = sent
        return job_id

    def cancel(self, job_id: str) -> None:
        """Cancel a job as a page does."""
        from immortus_channels import tracking

        tracking.cancel(job_id)

    def cancel_in_queue(self, job_id: str) -> None:
        """Cancel a job by the queue's own means."""
        self._driver.cancel(self._sent[job_id])

    def says(self, job_id: str) -> str:
        """Return what the queue's own record says."""
        return str(self._driver.says(self._sent[job_id]))

    def look(self, job_id: str) -> Any:
        """Return a job's document as a page would get it now."""
        from immortus_channels import tracking

        job = tracking.read([job_id]).get(job_id)
        return None if job is None else job.document


def main() -> None:
    """Answer until the input ends."""
    sender = Sender()
    sys.stdout.write('{"answer": "ready"}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(sender, **json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(sender: Sender, call: str, args: Any, options: Any) -> dict[str, Any]:
    asked: Callable[..., Any] = getattr(sender, call)
    try:
        return {"answer": asked(*args, **options)}
    except Exception as error:  # noqa: BLE001 - the test says it
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
