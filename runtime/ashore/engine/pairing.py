"""Which elements of several sources make one call: side by side, or in all combinations. Pure.

A place of the fan-out is ripe when all its parts are there. Ripe places are given out one by one, and made up only then: a
product of a thousand by a thousand is no list of a million.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from math import prod

from ashore.engine.feeds import Feed


class Pairing:
    """How the elements of these feeds make places."""

    def __init__(self, feeds: Sequence[Feed], leave_out: Callable[[int], None]) -> None:
        self.feeds = feeds
        self.leave_out = leave_out
        self._ripe: deque[Iterator[int]] = deque()
        if all(feed.is_whole for feed in feeds):
            self._ripe.append(iter(range(self.count or 0)))

    @property
    def count(self) -> int | None:
        """How many places there are, once that is known."""
        return self.feeds[0].count

    @property
    def mismatch(self) -> str:
        """What is wrong with the lengths; "" if nothing is."""
        return ""

    def parts(self, place: int) -> Sequence[int]:
        """Which element of each feed stands at a place."""
        return (place,)

    def next(self) -> int | None:
        """A ripe place, each once; None if there is none now."""
        while self._ripe:
            place = next(self._ripe[0], None)
            if place is not None:
                return place
            self._ripe.popleft()
        return None

    def arrived(self, feed: int, part: int) -> None:
        self._ripe.append(iter((part,)))

    def left_out(self, feed: int, part: int) -> None:
        self.leave_out(part)

    def counted(self) -> None:
        """A feed knows how many it has."""


class SideBySide(Pairing):
    """The n-th of each."""

    def __init__(self, feeds: Sequence[Feed], leave_out: Callable[[int], None]) -> None:
        super().__init__(feeds, leave_out)
        self._moving = sum(not feed.is_whole for feed in feeds)
        self._there: dict[int, int] = {}
        self._gone: set[int] = set()
        self._highest = -1

    @property
    def count(self) -> int | None:
        counts = [feed.count for feed in self.feeds]
        return None if None in counts else counts[0]

    @property
    def mismatch(self) -> str:
        counts = sorted({feed.count for feed in self.feeds if feed.count is not None})
        if len(counts) == 1 and self._highest >= counts[0]:
            return f"{counts[0]}, more"
        return ", ".join(map(str, counts)) if len(counts) > 1 else ""

    def parts(self, place: int) -> Sequence[int]:
        return (place,) * len(self.feeds)

    def arrived(self, feed: int, part: int) -> None:
        self._highest = max(self._highest, part)
        there = self._there[part] = self._there.get(part, 0) + 1
        if there == self._moving:
            del self._there[part]
            if part in self._gone:
                self._gone.remove(part)
                self.leave_out(part)
            else:
                self._ripe.append(iter((part,)))

    def left_out(self, feed: int, part: int) -> None:
        self._gone.add(part)
        self.arrived(feed, part)


class Combined(Pairing):
    """Each with each, the last feed's changing fastest."""

    def __init__(self, feeds: Sequence[Feed], leave_out: Callable[[int], None]) -> None:
        super().__init__(feeds, leave_out)
        self._is_open = False
        self._came: list[list[int]] = [list(range(feed.count or 0)) if feed.is_whole else [] for feed in feeds]
        self._gone: list[set[int]] = [set() for _ in feeds]
        self._early: list[tuple[int, int, bool]] = []

    @property
    def count(self) -> int | None:
        counts = [feed.count for feed in self.feeds]
        return None if None in counts else prod(count or 0 for count in counts)

    def parts(self, place: int) -> Sequence[int]:
        parts: list[int] = []
        for feed in reversed(self.feeds[1:]):
            place, part = divmod(place, feed.count or 1)
            parts.append(part)
        parts.append(place)
        return parts[::-1]

    def arrived(self, feed: int, part: int) -> None:
        self._take(feed, part, is_there=True)

    def left_out(self, feed: int, part: int) -> None:
        self._take(feed, part, is_there=False)

    def counted(self) -> None:
        """Places have their numbers when it is known how many there are of all but the first."""
        if not self._is_open and all(feed.count is not None for feed in self.feeds[1:]):
            self._is_open = True
            early, self._early = self._early, []
            for feed, part, is_there in early:
                self._take(feed, part, is_there=is_there)

    def _take(self, feed: int, part: int, *, is_there: bool) -> None:
        """A combination is ripe, or left out, when the last of its parts comes."""
        if not self._is_open:
            self._early.append((feed, part, is_there))
            return
        combinations = product(*([part] if number == feed else came for number, came in enumerate(self._came)))
        self._came[feed].append(part)
        if not is_there:
            self._gone[feed].add(part)
        if any(self._gone):
            self._sort_out(combinations)
        else:
            self._ripe.append(map(self._place, combinations))

    def _sort_out(self, combinations: Iterable[Sequence[int]]) -> None:
        ripe: list[int] = []
        for parts in combinations:
            if any(part in gone for part, gone in zip(parts, self._gone, strict=True)):
                self.leave_out(self._place(parts))
            else:
                ripe.append(self._place(parts))
        self._ripe.append(iter(ripe))

    def _place(self, parts: Sequence[int]) -> int:
        place = 0
        for part, feed in zip(parts, self.feeds, strict=True):
            place = place * (feed.count or 1) + part
        return place
