"""The process that sends, as a web server would: `python -m immortus_channels.testing.queues.sender`.

It reads a request from each line of its input, as JSON, and answers with a line: `{"answer": …}` or `{"error": …}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import django
from django.db import transaction

from immortus_channels import tracking
from immortus_channels.jobs.owner import started_by
from immortus_channels.queues.results import identify


class Sender:
    """Answers requests by the queue's driver."""

    def __init__(self, tasks: Any) -> None:
        """Take the module with the project's tasks."""
        self._tasks, self._driver = tasks, tasks.DRIVER
        self._sent: dict[str, Any] = {}
        self._messages: dict[str, Any] = {}

    def send(self, task: str, *args: Any, owner: str | None = None, where: str = "", **options: Any) -> str | None:
        """Send a task and return its job's id; `where` names a transaction that ends well, badly or in part."""
        with started_by(SimpleNamespace(pk=owner) if owner else None):
            sent = self._send_in(where, getattr(self._tasks, task), args, options)
        return self._noted(sent)

    def send_expiring(self, task: str, *args: Any, owner: str, seconds: float) -> str:
        """Send a task that is not to be run later than in so many seconds."""
        with started_by(SimpleNamespace(pk=owner)):
            return self._noted(self._driver.send_expiring(getattr(self._tasks, task), *args, seconds=seconds))

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
        job_id = str(identify(sent)[0])
        self._sent[job_id] = sent
        return job_id

    def cancel(self, job_id: str) -> None:
        """Cancel a job as a page does."""
        tracking.cancel(job_id)

    def cancel_in_queue(self, job_id: str) -> None:
        """Cancel a job by the queue's own means."""
        self._driver.cancel(self._sent[job_id])

    def keep_message(self, job_id: str) -> None:
        """Keep the message of a waiting job."""
        self._messages[job_id] = self._driver.message(self._sent[job_id])

    def deliver_again(self, job_id: str) -> None:
        """Have the kept message delivered a second time."""
        self._driver.deliver_again(self._sent[job_id], self._messages[job_id])

    def says(self, job_id: str) -> str:
        """Return what the queue's own record says."""
        return str(self._driver.says(self._sent[job_id]))

    def look(self, job_id: str) -> Any:
        """Return a job's document as a page would get it now."""
        job = tracking.read([job_id]).get(job_id)
        return None if job is None else job.document


def main() -> None:
    """Answer until the input ends."""
    django.setup()
    sender = Sender(import_module("immortus_channels.testing.queues.project.tasks"))
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
