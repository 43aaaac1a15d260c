"""The elements of a fan-out as they are known: which there are, and what became of each. Pure.

An element has its place for ever: the n-th of what is gone over. A place whose element failed in an earlier stage is left out:
nothing runs there, and what follows has no element there either. So stages agree on places without waiting for one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, final

from ashore.events import Column, Failure, Output

_DIGEST = 32
"""Bytes of a digest."""

Watcher: TypeAlias = Callable[[int], None]
"""Called with the place of each element that is settled, as they settle, and with -1 when the number of places is known."""


class Feeding(Protocol):
    """A fan-out that is open."""

    def producer_settled(self, node: Any) -> None:
        """One that its elements come from has its outcome: there will be no more."""
        ...

    def past(self) -> int:
        """How many elements of its first source it is done with."""
        ...


@final
class Fan:
    """The columns of a fan-out: what became of each element, by its place."""

    __slots__ = ("count", "failed", "feed", "is_drained", "left_out", "outputs", "settled", "taken", "taken_all", "watchers")

    def __init__(self) -> None:
        self.count: int | None = None
        """How many places there are; None as long as nobody knows."""
        self.settled = 0
        """How many places have an outcome or are left out."""
        self.outputs: list[tuple[Output, ...] | None] = []
        self.failed: dict[int, Failure] = {}
        self.left_out: set[int] = set()
        """Places where nothing runs, because what should come there failed before."""
        self.taken: list[bytes | None] = []
        """Of an async iterator: what it gave, encoded; None once it is not needed any more."""
        self.taken_all = False
        """Of an async iterator: whether it has ended."""
        self.is_drained = False
        """Whether its fan-out has no outcome though all elements have one: what takes these goes on to the end of them."""
        self.watchers: list[Watcher] = []
        self.feed: Feeding | None = None
        """The fan-out itself, while it is open."""

    def __repr__(self) -> str:
        of = "?" if self.count is None else self.count
        return f"<Fan {self.settled} of {of} settled, {len(self.failed)} failed, {len(self.left_out)} left out>"

    @property
    def is_settled(self) -> bool:
        """Whether every element has its outcome."""
        return self.settled == self.count

    @property
    def elements(self) -> int:
        """How many elements have an outcome: places less those that are left out."""
        return self.settled - len(self.left_out)

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher(place)` called for each element that settles from now on; `came` tells what has settled before."""
        self.watchers.append(watcher)

    def came(self, place: int) -> bool:
        """Whether the element at this place has an outcome, or will never have one."""
        return place in self.left_out or self.has_outcome(place)

    def has_outcome(self, place: int) -> bool:
        return (place < len(self.outputs) and self.outputs[place] is not None) or place in self.failed

    def made(self, place: int) -> tuple[Output, ...] | None:
        """The outputs of the element at this place; None if it has none (yet)."""
        return self.outputs[place] if place < len(self.outputs) else None

    def known(self, count: int) -> None:
        """The number of places is known."""
        self.count = count
        for watcher in self.watchers:
            watcher(-1)

    def put(self, place: int, outputs: tuple[Output, ...]) -> None:
        """The element at this place has its outputs; the first outcome counts."""
        column = self.outputs
        if place == len(column):  # in order, as most come
            if place not in self.failed and place not in self.left_out:
                column.append(outputs)
                self.settled += 1
                for watcher in self.watchers:
                    watcher(place)
        elif not self.came(place):
            if place > len(column):
                column.extend([None] * (place + 1 - len(column)))
            column[place] = outputs
            self._settle(place)

    def fail(self, place: int, failure: Failure) -> None:
        if not self.came(place):
            self.failed[place] = failure
            self._settle(place)

    def leave_out(self, place: int) -> None:
        if not self.came(place):
            self.left_out.add(place)
            self._settle(place)

    def close(self, count: int) -> None:
        """On record: it is settled. Places without an outcome were left out."""
        self.left_out.update([place for place in range(count) if not self.came(place)])
        self.settled = count
        self.known(count)

    def kept(self) -> Iterator[tuple[Output, ...]]:
        """The outputs of the elements that have some, in order."""
        return (outputs for outputs in self.outputs if outputs is not None)

    def _settle(self, place: int) -> None:
        self.settled += 1
        for watcher in self.watchers:
            watcher(place)


def column_of(outputs: Sequence[Output]) -> Column:
    """Outputs of one format and type, side by side. There is at least one."""
    contents = tuple([output.content for output in outputs])
    return Column(
        outputs[0].format,
        outputs[0].type,
        b"".join([output.digest for output in outputs]),
        tuple([output.size for output in outputs]),
        tuple([output.data for output in outputs]),
        contents if any(contents) else (),
    )


def outputs_in(column: Column) -> list[Output]:
    """The outputs of a column, one by one."""
    digests, contents = column.digests, column.contents
    return [
        Output(
            digests[_DIGEST * place : _DIGEST * (place + 1)],
            size,
            column.format,
            column.type,
            column.data[place],
            contents[place] if contents else b"",
        )
        for place, size in enumerate(column.sizes)
    ]
