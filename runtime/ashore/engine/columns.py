"""Outcomes of a fan-out's elements, gathered side by side into column frames."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from ashore.events import ElementsRan, ElementsTaken, Failure, FileUse, Output
from ashore.fans import column_of
from ashore.ids import NO_KEY, CacheKey, InvocationId, RunId

FRAME = 1024
"""Elements after which a frame is written."""


class Columns:
    """The outcomes of one fan-out that are not in the log yet."""

    __slots__ = (
        "failed", "files", "indices", "invocation", "keys", "names", "outputs", "parts", "renewing", "reused", "run", "taken",
    )  # fmt: skip

    def __init__(self, run: RunId, invocation: InvocationId) -> None:
        self.run = run
        self.invocation = invocation
        self.names: tuple[str, ...] = ()
        """Of a product, the names of its arguments."""
        self._clear()

    def _clear(self) -> None:
        self.indices: list[int] = []
        self.keys: list[CacheKey] = []
        self.outputs: list[tuple[Output, ...]] = []
        self.failed: list[tuple[int, Failure]] = []
        self.reused: list[tuple[int, RunId]] = []
        self.renewing: set[int] = set()
        self.files: list[FileUse] = []
        self.parts: list[Sequence[int]] = []
        self.taken: list[ElementsTaken] = []
        """What iterators gave, one by one."""

    def __len__(self) -> int:
        return len(self.indices) + len(self.failed)

    def add(self, index: int, key: CacheKey, outputs: tuple[Output, ...], reused: RunId) -> None:
        """An element has its outputs; `reused`: the run that made them, if it was not this one."""
        self.indices.append(index)
        self.keys.append(key)
        self.outputs.append(outputs)
        if reused:
            self.reused.append((index, reused))

    def add_failure(self, index: int, failure: Failure) -> None:
        self.failed.append((index, failure))

    def take_taken(self) -> list[ElementsTaken]:
        """What iterators gave, as events: what came one after the other in one."""
        joined: list[ElementsTaken] = []
        for event in self.taken:
            last = joined[-1] if joined else None
            if last is not None and last.argument == event.argument and last.start + len(last.elements) == event.start:
                gave, is_end = (*last.elements, *event.elements), event.is_end
                joined[-1] = structs.replace(last, elements=gave, is_end=is_end)
            else:
                joined.append(event)
        self.taken = []
        return joined

    def take(self, now: float) -> list[tuple[ElementsRan, list[CacheKey]]]:
        """What has gathered, as events: one for each kind of element (a column holds one format).

        With each the keys under which it is found again: those of elements that were made, not of those that are reused.
        """
        groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
        if any([len(outputs) != 1 for outputs in self.outputs]):
            kinds = [tuple([(output.format, output.type) for output in outputs]) for outputs in self.outputs]
        else:
            kinds = [((output.format, output.type),) for (output,) in self.outputs]
        if kinds and kinds.count(kinds[0]) == len(kinds):
            groups[kinds[0]] = list(range(len(kinds)))
        else:
            for place, kind in enumerate(kinds):
                groups.setdefault(kind, []).append(place)
        taken = [self._event(kinds, places, now) for kinds, places in groups.items()] or [self._event((), [], now)]
        first, keys = taken[0]
        taken[0] = (self._with_rest(first), keys)
        self._clear()
        return taken

    def _event(self, kinds: tuple[tuple[str, str], ...], places: list[int], now: float) -> tuple[ElementsRan, list[CacheKey]]:
        columns = tuple(column_of([self.outputs[place][n] for place in places]) for n in range(len(kinds)))
        indices = tuple([self.indices[place] for place in places])
        keys = [self.keys[place] for place in places]
        joined = b"" if NO_KEY in keys else b"".join(keys)
        mine = set(indices) if self.reused else ()
        reused = tuple([entry for entry in self.reused if entry[0] in mine])
        parts = [self.parts[place] for place in places] if self.parts else []
        chosen = tuple([(name, tuple([part[n] for part in parts])) for n, name in enumerate(self.names)])
        if reused:
            had = dict(reused)
            keys = [NO_KEY if index in had else key for index, key in zip(indices, keys, strict=True)]
        renewing = tuple([index for index in indices if index in self.renewing]) if self.renewing else ()
        event = ElementsRan(
            self.run, self.invocation, indices, joined, columns, (), reused, places=chosen, ended=now, renewing=renewing
        )
        return event, keys

    def _with_rest(self, event: ElementsRan) -> ElementsRan:
        return structs.replace(event, failed=tuple(self.failed), files=tuple(self.files))
