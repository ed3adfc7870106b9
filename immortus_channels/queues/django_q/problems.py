"""What is wrong with how a project has set up Django-Q2, found without connecting to anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from math import ceil

from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name

from django_q.conf import Conf
from immortus_channels.queues.django_q import functions
from immortus_channels.queues.django_q.messages import keeps_messages


def problems(tracked: list[str]) -> Iterator[CheckMessage]:
    """Yield what makes these tracked functions run twice, without end, or not at all."""
    if tracked and keeps_messages() and not Conf.SYNC:
        yield from _runs_twice()
        yield from _never_fails(tracked[0])
    for name in tracked:
        if inspect.iscoroutinefunction(functions.loaded(name)):
            yield Warning(
                f"The function {name!r} is an `async def`, which Django-Q2 calls and does not await: nothing of it "
                "runs, and its message is delivered again and again.",
                hint="Write `def`, and `asyncio.run(…)` or `async_to_sync(…)(…)` in it.",
                id="immortus_channels.W048",
            )


def _runs_twice() -> Iterator[CheckMessage]:
    """Yield that a message may be delivered again while its job waits in a cluster, or runs."""
    longest = _longest()
    if not Conf.TIMEOUT:
        yield Warning(
            f"Q_CLUSTER has no timeout, so a job that takes longer than its retry ({Conf.RETRY} s) is run a second "
            "time beside the first.",
            hint="Set `timeout`, and `retry` well above it.",
            id="immortus_channels.W047",
        )
    elif longest > Conf.RETRY:
        yield Warning(
            f"Q_CLUSTER's retry ({Conf.RETRY} s) begins when a cluster fetches a message. That may wait there, behind "
            f"others, and run until {longest} s later, so that the job is run a second time.",
            hint=f"Set `retry` to more than {longest}, or fetch less ahead: `queue_limit` is {Conf.QUEUE_LIMIT}.",
            id="immortus_channels.W047",
        )


def _longest() -> int:
    """Return the seconds from the fetching of a message to the end of its run, where all take as long as they may."""
    ahead = Conf.QUEUE_LIMIT + Conf.BULK
    return int((Conf.TIMEOUT or 0) * (ceil(ahead / Conf.WORKERS) + 1))


def _never_fails(name: str) -> Iterator[CheckMessage]:
    if not (Conf.MAX_ATTEMPTS or Conf.ACK_FAILURES):
        yield Warning(
            f"Q_CLUSTER has no max_attempts, so a job that fails, of {name!r} for example, is run again every "
            f"{Conf.RETRY} s without end: it is told to be retrying, and never to have failed.",
            hint="Set `max_attempts`, or `ack_failures` to True for a single attempt; silence this where each task "
            "is sent with `ack_failure`.",
            id="immortus_channels.W049",
        )
