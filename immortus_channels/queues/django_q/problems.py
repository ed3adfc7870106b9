"""What is wrong with how a project has set up Django-Q2, found without connecting to anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from math import ceil, inf

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
    if not Conf.TIMEOUT:
        yield Warning(
            f"Q_CLUSTER has no timeout, so a job that takes longer than its retry ({Conf.RETRY} s) is run a second "
            "time beside the first.",
            hint="Set `timeout`, and `retry` well above it.",
            id="immortus_channels.W047",
        )
    elif _longest() > Conf.RETRY:
        longest = f"until {_longest():.0f} s later" if Conf.QUEUE_LIMIT else "for any time"
        yield Warning(
            f"Q_CLUSTER's retry ({Conf.RETRY} s) begins when a cluster fetches a message, which may wait there, behind "
            f"others, and run {longest}: the job is then run a second time.",
            hint="Raise `retry`, or lower `timeout` or `queue_limit`, how many messages a cluster fetches ahead: by "
            "default its workers squared.",
            id="immortus_channels.W047",
        )


def _longest() -> float:
    """Return the seconds from the fetching of a message to the end of its run, where all take as long as they may."""
    rounds = ceil((Conf.QUEUE_LIMIT + Conf.BULK) / Conf.WORKERS) + 1 if Conf.QUEUE_LIMIT else inf
    return float(Conf.TIMEOUT * rounds)


def _never_fails(name: str) -> Iterator[CheckMessage]:
    if not (Conf.MAX_ATTEMPTS or Conf.ACK_FAILURES):
        yield Warning(
            f"Q_CLUSTER has no max_attempts, so a job that fails, of {name!r} for example, is run again every "
            f"{Conf.RETRY} s without end: it is told to be retrying, and never to have failed.",
            hint="Set `max_attempts`, or `ack_failures` to True for a single attempt; silence this where each task "
            "is sent with `ack_failure`.",
            id="immortus_channels.W049",
        )
