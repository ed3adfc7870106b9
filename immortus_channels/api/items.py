"""The items of a job's loop, for `for` and for `async for`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from itertools import repeat
from typing import Any, Self, TypeVar

from asgiref.sync import sync_to_async

from immortus_channels.api.remote import Remote
from immortus_channels.exceptions import JobCancelled
from immortus_channels.guarded import length_of
from immortus_channels.jobs.job import Number
from immortus_channels.writer.run import Run

Item = TypeVar("Item")


class TrackedItems(Iterator[Item], AsyncIterator[Item]):
    """An iterator over items that the job counts, and an async iterator over them too.

    A `for` iterates over the run's own generator: nothing stands between it and the items.
    """

    def __init__(
        self,
        side: Run | Remote,
        iterable: Iterable[Item] | AsyncIterable[Item],
        total: Number | None,
        message: object,
    ) -> None:
        self._side, self._iterable, self._total, self._message = side, iterable, total, message
        self._counted: Iterator[Any] | None = None
        self._source: AsyncIterator[Item]

    def __iter__(self) -> Iterator[Item]:  # noqa: PYI034 - a loop over this would call `__next__` for each item
        """Return the iterator that counts."""
        if self._counted is None:
            self._counted = self._count(self._iterable)
        return self._counted

    def __next__(self) -> Item:
        """Return the next item; the one before it is counted now."""
        return next(iter(self))

    def _count(self, iterable: Any) -> Iterator[Any]:
        return self._side.track(iterable, self._total, self._message)

    def close(self) -> None:
        """End the loop where it is."""
        self._counted = iter(())  # nothing else holds the run's generator: it ends, and with it the step

    def __aiter__(self) -> Self:
        """Return this iterator."""
        return self

    async def __anext__(self) -> Item:
        """Return the next item; the one before it is counted before this one is awaited."""
        if not isinstance(self._iterable, AsyncIterable):
            try:
                return next(self)
            except StopIteration:
                raise StopAsyncIteration from None
        try:
            return await self._awaited(self._iterable)
        except BaseException:
            self.close()
            raise

    async def _awaited(self, iterable: AsyncIterable[Item]) -> Item:
        if self._counted is None:
            if self._total is None and isinstance(iterable, Sized):
                self._total = await sync_to_async(length_of)(iterable)  # of a QuerySet: the query
            self._source, self._counted = aiter(iterable), self._count(repeat(None))
        asked_to_stop = None
        try:
            next(self._counted)
        except StopIteration:
            raise StopAsyncIteration from None
        except JobCancelled as error:
            asked_to_stop = error
        item = await anext(self._source)  # as in a `for`, a loop whose last item is done has ended by itself
        if asked_to_stop is not None:
            raise asked_to_stop
        self._side.checkpoint()
        return item
