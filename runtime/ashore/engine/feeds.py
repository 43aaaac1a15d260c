"""Where a fan-out's elements come from, one class for each kind of source. Nothing here waits: elements arrive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any, Protocol

from ashore.codec import decode
from ashore.engine.state import DONE, fan_of
from ashore.engine.values import CONSTANT, Blobs, Item, Stored, item_of, list_of
from ashore.fans import Fan
from ashore.graph import Argument, Node, Ref, sources_in
from ashore.ids import hash_id


class Sink(Protocol):
    """Who is told of elements: by the feed's number and the element's place."""

    def arrived(self, feed: int, place: int) -> None:
        """It is there."""

    def left_out(self, feed: int, place: int) -> None:
        """It will never be there, as it failed before."""

    def counted(self) -> None:
        """A feed knows how many elements it has."""


class Feed(ABC):
    """The elements of one argument."""

    def __init__(self, argument: Argument, number: int, sink: Sink) -> None:
        self.argument = argument
        self.name = argument.name
        self.number = number
        self.sink = sink
        self.count: int | None = None
        """How many there are, once that is known."""

    @property
    def is_whole(self) -> bool:
        """Whether all of its elements are there from the start, and none arrives."""
        return False

    @property
    def names_files(self) -> bool:
        """Whether the call itself has named the files among its elements."""
        return False

    @abstractmethod
    def open(self) -> None:
        """Tell the sink of what is there already; of what comes it is told when it comes."""

    def producer_settled(self, node: Node) -> None:  # noqa: B027  # most have none that they wait for
        """A producer is settled."""

    @abstractmethod
    def item(self, place: int, *, is_named: bool = True) -> Item:
        """The element at this place, which is there; with its identity, if it is to be named by it."""


class Listed(Feed):
    """A list whose elements are all there."""

    def __init__(self, argument: Argument, number: int, sink: Sink, parts: Sequence[Any]) -> None:
        super().__init__(argument, number, sink)
        self.parts = parts
        self.count = len(parts)

    @property
    def is_whole(self) -> bool:
        return True

    def open(self) -> None:
        """Nothing arrives."""

    @property
    def names_files(self) -> bool:
        return type(self.argument.template) is not Ref

    def item(self, place: int, *, is_named: bool = True) -> Item:
        part = self.parts[place]
        return item_of(part) if is_named or type(part) not in CONSTANT else Item(b"", part)


class Handled(Listed):
    """A list with handles in it: an element is there when its own handles have their values."""

    def __init__(self, argument: Argument, number: int, sink: Sink, parts: Sequence[Any]) -> None:
        super().__init__(argument, number, sink, parts)
        self._missing: dict[int, int] = {}
        self._waiting: dict[int, list[int]] = {}

    @property
    def is_whole(self) -> bool:
        return False

    def open(self) -> None:
        for place, part in enumerate(self.parts):
            producers = {id(source.node): source.node for source in sources_in(part) if type(source) is Ref}
            missing = [node for node in producers.values() if node.state != DONE]
            for node in missing:
                self._waiting.setdefault(id(node), []).append(place)
            if missing:
                self._missing[place] = len(missing)
            else:
                self.sink.arrived(self.number, place)

    def producer_settled(self, node: Node) -> None:
        if node.state != DONE:
            return
        for place in self._waiting.pop(id(node), ()):
            self._missing[place] -= 1
            if not self._missing[place]:
                del self._missing[place]
                self.sink.arrived(self.number, place)


class Staged(Feed):
    """The elements of another fan-out: each is there when it has its outcome."""

    def __init__(self, argument: Argument, number: int, sink: Sink, ref: Ref) -> None:
        super().__init__(argument, number, sink)
        self._work = ref.node.work
        self._output = ref.output
        self._fan = fan_of(ref.node)

    def open(self) -> None:
        fan = self._fan
        for place in sorted({*range(len(fan.outputs)), *fan.failed, *fan.left_out}):
            if fan.came(place):
                self._came(place)
        self.count = fan.count
        fan.watch(self._seen)

    def _seen(self, place: int) -> None:
        if place < 0:
            self.count = self._fan.count
            self.sink.counted()
        else:
            self._came(place)

    def _came(self, place: int) -> None:
        if self._fan.made(place) is not None:
            self.sink.arrived(self.number, place)
        else:
            self.sink.left_out(self.number, place)

    def item(self, place: int, *, is_named: bool = True) -> Item:
        outputs = self._fan.made(place)
        assert outputs is not None
        stored = Stored(self._work, outputs, self._output)
        return Item(stored.content if is_named else b"", stored)


class Taken(Feed):
    """What an async iterator gives, taken one by one. What was taken before a crash is there from the start, on record."""

    def __init__(self, argument: Argument, number: int, sink: Sink, source: AsyncIterable[Any], fan: Fan) -> None:
        super().__init__(argument, number, sink)
        self.source = source
        self.fan = fan
        self.given = 0
        """How many it gave."""
        self.changed: Callable[[], None] | None = None
        """Told when an element settles: there may be room for another."""
        self.on_record = Counter(hash_id(encoded) for encoded in fan.taken if encoded is not None)
        """What it had given before a crash, by content."""

    def open(self) -> None:
        self.given = len(self.fan.taken)
        for place in range(self.given):
            self.sink.arrived(self.number, place)
        if self.fan.taken_all:
            self.count = self.given

    def take(self, encoded: bytes) -> int:
        """Another element is there; returns its place."""
        place = self.given
        self.given += 1
        self.fan.taken.append(encoded)
        self.sink.arrived(self.number, place)
        return place

    def end(self) -> None:
        self.fan.taken_all = True
        self.count = self.given
        self.sink.counted()

    def item(self, place: int, *, is_named: bool = True) -> Item:
        encoded = self.fan.taken[place]
        assert encoded is not None
        return item_of(decode(encoded))

    def let_go(self, place: int) -> None:
        """It is not needed any more."""
        self.fan.taken[place] = None


def feed_of(argument: Argument, number: int, sink: Sink, node: Node, blobs: Blobs) -> Feed:
    """The feed of one argument of a fan-out. Raises `TypeError` if a step gave something else than a list to go over."""
    template = argument.template
    if type(template) is Ref:
        if template.node.fan:
            return Staged(argument, number, sink, template)
        return Listed(argument, number, sink, list_of(template, blobs))
    if isinstance(template, list):
        kind = Handled if any(type(source) is Ref for source in argument.sources) else Listed
        return kind(argument, number, sink, template)
    return Taken(argument, number, sink, template, fan_of(node))
