"""Many values as they come (`Stream`), and a list that is one (`Items`): what fan-outs, and later generators, give."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stream(AsyncIterable[T_co], Generic[T_co]):
    """Values as they come: `async for value in stream`. `Stream([1, 2])` makes one for a unit test of a step's `.fn`."""

    def __init__(self, items: Iterable[T_co] | AsyncIterable[T_co] = ()) -> None:
        self._items = items

    async def __aiter__(self) -> AsyncIterator[T_co]:
        if isinstance(self._items, AsyncIterable):
            async for item in self._items:
                yield item
        else:
            for item in self._items:
                yield item


class Items(list[T], Stream[T]):
    """All the values of a fan-out or a stream, in order. A list that also feeds `Stream[T]`."""

    async def __aiter__(self) -> AsyncIterator[T]:
        for item in self:
            yield item
