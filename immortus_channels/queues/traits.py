"""What an adapter says of its queue, beside what its hooks mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from immortus_channels.queues.tracked import Named


class QueueTraits:
    """The traits of one task queue."""

    name: str
    """What records call the queue by."""
    interrupts: tuple[type[BaseException], ...] = ()
    """What the queue raises in the middle of a task's code, whatever that code is: only the task itself may catch
    it."""
    time_limits: tuple[type[BaseException], ...] = ()
    """What the queue raises, there or elsewhere, when a job has run for too long."""
    carries_headers: bool = False
    """Whether a message has room for a header; without, the worker learns from the record what the sender knew."""
    counts_ids: bool = False
    """Whether ids can be counted: a job without an owner is then for staff only."""
    runs_functions: bool = False
    """Whether its tasks are functions without a decorator of the queue: `check` cannot tell which ones it is sent."""
    waits_for_ends: bool = False
    """Whether the end of a run waits for the store, 0.4 seconds at most: its process may be gone a moment later."""
    strategy: Named = "immortus_channels.TrackingStrategy"
    """The strategy for this queue's tasks that name none."""
    tried: ClassVar[Mapping[str, Collection[str]]] = {}
    """The queue's packages, each with the releases that the adapter was tried with, as `"5.7"`; `check` warns of others
    (W024)."""
    gives_way: bool = False
    """Whether other adapters are asked first: its queue runs jobs on other queues, which know them better."""
    ends_silently: ClassVar[bool] = False
    """Whether some ends stand in its own records alone: readers ask `end_of` for jobs that should run by now, too."""
