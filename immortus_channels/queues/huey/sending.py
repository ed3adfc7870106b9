"""Huey's methods that send: in a web server, in a worker whose task starts others, and in a consumer's scheduler."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from huey.api import Huey, PeriodicTask, Task, chord

from immortus_channels.loading import Later
from immortus_channels.queues.hooks import Outcome
from immortus_channels.queues.huey.calls import TOLD, Call, after, call_of
from immortus_channels.queues.moments import due

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues import messages, origins
    from immortus_channels.queues.port import Port
    from immortus_channels.queues.sendings import Sending
else:  # Huey may be imported by processes that never send a job
    events = Later("immortus_channels.jobs.events")
    messages = Later("immortus_channels.queues.messages")
    origins = Later("immortus_channels.queues.origins")

_PROMISED = "immortus_promised"
"""Set on a message that will be sent once a transaction is committed: its sending."""


class SendingHooks:
    """Hooks around what sends messages. Huey calls a message `task`."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def enqueue(self, huey: Huey, task: Any) -> Generator[None, Outcome, None] | None:
        """Tell the first sending of a message: it is sent again once it is due, and for each retry."""
        if isinstance(task, chord):
            self._plan([task.callback, *after(task.callback)])
        elif isinstance(task, Task) and TOLD not in vars(task):
            if task.on_complete is not None:
                self._plan(after(task))
            call = call_of(task)
            return None if call is None else self._send(huey, task, call)
        return None

    def _send(self, huey: Huey, message: Task, call: Call) -> Generator[None, Outcome, None]:
        sending = vars(message).pop(_PROMISED, None) or self._tell(huey, message, call)
        vars(message)[TOLD] = True
        if (yield).error is None:
            sending.confirm()
        else:
            vars(message).pop(TOLD, None)

    def promise(self, huey: Huey, task: Task) -> None:
        """Tell a job that `on_commit_task` sends once the transaction is committed: the caller has its id now."""
        call = None if TOLD in vars(task) else call_of(task)
        if call is not None:
            vars(task)[_PROMISED] = self._tell(huey, task, call)

    def _tell(self, huey: Huey, message: Task, call: Call) -> Sending:
        return self._port.sent(
            message.id,
            call.job_class,
            call.options,
            args=call.args,
            kwargs=call.kwargs,
            function=call.function,
            eta=due(message.eta, is_utc=huey.utc),
            is_scheduled=isinstance(message, PeriodicTask),
        )

    def read_schedule(self, huey: Huey, timestamp: object = None) -> Generator[None, Outcome, None]:
        """Note of messages that are due now, and so sent again, that their first sending was told."""
        for message in (yield).value or ():
            vars(message)[TOLD] = True

    def _plan(self, followers: Iterable[Task]) -> None:
        """Tell the jobs that will be sent after others: their results are in the caller's hands already."""
        queue = self._port.queue.name
        for message in followers:
            if (call := call_of(message)) is not None:
                origin = replace(origins.origin_here(queue, call.options), send_id="")
                job_id = messages.key_in(origin.namespace, message.id)
                planned = events.Planned(job_id=job_id, job_class=call.job_class, queue=queue, origin=origin)
                self._port.tracker.publish(planned, wait=0)
