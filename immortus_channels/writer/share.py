"""The share that this process has in the work of a job which it does not run: loops that add to what others count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from immortus_channels.jobs.events import Counted, Event
from immortus_channels.jobs.job import Job, Number
from immortus_channels.writer.run import Run
from immortus_channels.writer.values import clean_message

Item = TypeVar("Item")


class Share(Run):
    """A loop outside of its job's run, and those inside of it: its reports say what is new since the last one."""

    __slots__ = ("_attach", "_by", "_detach", "_publish", "_told")

    is_share: ClassVar[bool] = True

    def __init__(
        self,
        *,
        by: str,
        attach: Callable[[Run], None],
        detach: Callable[[Run], None],
        publish: Callable[[Event], Job | None],
        **about: Any,
    ) -> None:
        super().__init__(**about)
        self._by, self._attach, self._detach, self._publish = by, attach, detach, publish
        self._told: tuple[Number, float, str | None] = (0, 0.0, None)
        """The count, the share of the item at work and the message that were last reported."""

    def track(self, iterable: Iterable[Item], total: Number | None = None, message: object = "") -> Iterator[Item]:
        """Yield the items, counting each one when the next is asked for; what was counted is on record at the end."""
        if self._loops:
            yield from super().track(iterable, total, message)
            return
        try:
            yield from super().track(iterable, total, message)
        finally:
            self._detach(self)
            self._publish(self.news(ends=True))

    def _begin_loop(self, message: object) -> None:
        """Begin the loop, on record."""
        self._message = clean_message(message, self.job_id) or None if message else None
        job = self._publish(self.news(begins=True))
        if job is not None:
            self.learn(job)
        self._attach(self)

    def news(self, *, begins: bool = False, ends: bool = False) -> Counted:
        """Return what is new since the last report, as the event of the next: nothing tells it again."""
        with self._lock:
            current = self._current
            within = 0.0 if current == self._total else self._reach()
            self._dirty, self._reported, self._inner_reported = False, current, self._inner_count()
            before, self._told = self._told, (current, within, self._message)
            return Counted(
                job_id=self.job_id,
                job_class=self.job_class,
                loop=self.run_id,
                by=self._by,
                total=self._total,
                done=current + within,
                advance=current - before[0],
                within=within - before[1],
                begins=begins,
                ends=ends,
                message=None if self._message == before[2] else self._message,
            )
