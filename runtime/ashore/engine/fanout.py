"""A fan-out while it runs: elements are made when they are taken up, from what has arrived, as many as may be under way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, final

from ashore.elements import AT_ONCE
from ashore.engine.columns import Columns
from ashore.engine.feeds import Feed, Listed, Taken, feed_of
from ashore.engine.keys import ElementKeys, element_key
from ashore.engine.pairing import Combined, Pairing, SideBySide
from ashore.engine.state import fan_of
from ashore.engine.values import Blobs, Item, Stored, arguments_of, load_item
from ashore.errors import GraphError
from ashore.events import FileUse, Output
from ashore.fans import Fan
from ashore.files import File
from ashore.graph import Argument, Node, Ref, file_use
from ashore.ids import CacheKey, RunId


@final
class Element:
    """One element of a fan-out that is under way, as the pump sees it."""

    __slots__ = ("fanout", "index", "items", "key", "node")

    def __init__(self, fanout: FanOut, index: int, items: Sequence[Item], key: CacheKey) -> None:
        self.fanout = fanout
        self.node = fanout.node
        self.index = index
        self.items = items
        self.key = key

    @property
    def files(self) -> list[File]:
        """The files that it is about."""
        return [item.file for item in self.items if item.file is not None]

    @property
    def is_of_files(self) -> bool:
        for item in self.items:  # noqa: SIM110  # once for each element: a generator costs as much as all the rest
            if item.file is not None:
                return True
        return False


@final
class FanOut:
    """One fan-out under way. In the ready deque it stands for its next element."""

    __slots__ = (
        "changed", "columns", "constants", "fan", "feeds", "is_closed", "is_held_back", "is_queued", "is_quick", "limit", "node",
        "on_error", "pairing", "shared", "started", "under_way",
    )  # fmt: skip

    def __init__(self, node: Node, run: RunId, blobs: Blobs, shared: ElementKeys | None, started: float) -> None:
        """`shared`: how its elements' cache keys are made, if they are reused. Raises `TypeError`."""
        over = [argument for argument in node.arguments if argument.each is not None]
        asked = over[0].each
        assert asked is not None
        self.node = node
        self.on_error = asked.on_error
        self.limit = asked.limit or AT_ONCE
        self.fan: Fan = fan_of(node)
        self.feeds: list[Feed] = [feed_of(argument, number, self, node, blobs) for number, argument in enumerate(over)]
        kind = Combined if asked.group.how == "product" else SideBySide if len(over) > 1 else Pairing
        self.pairing: Pairing = kind(self.feeds, self.fan.leave_out)
        self.shared = shared
        self.columns = Columns(run, node.invocation)
        if kind is Combined:
            self.columns.names = tuple([argument.name for argument in over])
        self.started = started
        self.under_way = 0
        """Elements that were taken up and are not settled."""
        self.is_queued = False
        """Whether it stands in the ready deque."""
        self.is_closed = False
        self.is_held_back = any(_goes_over_iterators(argument) for argument in over)
        """Whether an iterator waits for it, or for what comes before it."""
        self.is_quick = _is_quick(node)
        """Whether its elements need nothing but to be called."""
        self.constants = _constants_of(node)
        """The arguments that all elements share, if nobody can change them; else they are made for each."""
        self.changed: Callable[[FanOut], None] = _nobody

    def __repr__(self) -> str:
        return f"<FanOut {self.node!r}: {self.fan!r}, {self.under_way} under way>"

    def open(self) -> None:
        """Take what is there already."""
        for feed in self.feeds:
            feed.open()
        self.counted()
        self.fan.feed = self

    @property
    def taken(self) -> list[Taken]:
        """Its async iterators."""
        return [feed for feed in self.feeds if type(feed) is Taken]

    # What feeds tell.

    def arrived(self, feed: int, place: int) -> None:
        self.pairing.arrived(feed, place)
        self.changed(self)

    def left_out(self, feed: int, place: int) -> None:
        self.pairing.left_out(feed, place)
        self.changed(self)

    def counted(self) -> None:
        self.pairing.counted()
        count = self.pairing.count
        if count is not None and self.fan.count is None and not self.pairing.mismatch:
            self.fan.known(count)
        self.changed(self)

    def producer_settled(self, node: Node) -> None:
        for feed in self.feeds:
            feed.producer_settled(node)
        self.changed(self)

    # What is asked of it.

    def mismatch(self) -> GraphError | None:
        """What is wrong with the lengths of its lists, if something is."""
        lengths = self.pairing.mismatch
        if not lengths:
            return None
        return GraphError(
            f"{self.node.work.name}(each(...), ...) got lists of different lengths ({lengths}): "
            "elements go side by side; use each.product for all combinations",
            where=next((feed.argument.each.where for feed in self.feeds if feed.argument.each), ""),
        )

    def is_endless(self) -> bool:
        """Whether nobody knows if what it takes elements of will ever end."""
        return any(feed.count is None for feed in self.feeds)

    @property
    def plain(self) -> Listed | None:
        """The list that it goes over, if that is all and its elements have no keys."""
        feed = self.feeds[0]
        is_plain = len(self.feeds) == 1 and type(feed) is Listed and self.shared is None and self.constants is not None
        return feed if is_plain and isinstance(feed, Listed) else None

    def next(self) -> Element | None:
        """The next element to run; None if there is no room, or if none is there now."""
        index = self.next_index()
        return None if index is None else self.element(index)

    def element(self, index: int) -> Element:
        items = self.items(index)
        return Element(self, index, items, element_key(self.shared, items))

    def next_index(self) -> int | None:
        """The place of the next element."""
        if self.under_way >= self.limit or self.is_closed:
            return None
        index, fan = self.pairing.next(), self.fan
        while index is not None and fan.settled and fan.came(index):  # on record from before a crash
            index = self.pairing.next()
        if index is not None:
            self.under_way += 1
        return index

    def items(self, index: int) -> Sequence[Item]:
        feeds = self.feeds
        if len(feeds) == 1:
            return (feeds[0].item(index, is_named=self.shared is not None),)
        return [feed.item(part) for feed, part in zip(feeds, self.pairing.parts(index), strict=True)]

    def arguments(self, element: Element, blobs: Blobs) -> dict[str, Any]:
        """The arguments of one element's call."""
        arguments = arguments_of(self.node, blobs) if self.constants is None else {**self.constants}
        for feed, item in zip(self.feeds, element.items, strict=True):
            arguments[feed.name] = load_item(item, blobs)
        return arguments

    def files(self, element: Element, *, by_place: bool = False) -> list[FileUse]:
        """Files among an element's arguments, for the log; those that the call has named already are left out.

        Unless they are to be known by the element's own place, and that is not the file's place in its list.
        """
        anew = by_place and type(self.pairing) is Combined
        return [
            file_use(f"{feed.name}[{element.index}]", item.file)
            for feed, item in zip(self.feeds, element.items, strict=True)
            if item.file is not None and (anew or not feed.names_files)
        ]

    def parts(self, index: int) -> Sequence[int] | None:
        """In a product, which element of each argument this one has."""
        return self.pairing.parts(index) if type(self.pairing) is Combined else None

    def let_go(self, index: int) -> None:
        """This element has its outcome: what was taken for it is not needed any more, but in a product."""
        if type(self.pairing) is not Combined:
            for feed in self.feeds:
                if type(feed) is Taken:
                    feed.let_go(index)

    def has_room(self, feed: Taken) -> bool:
        """Whether another element may be taken from an iterator: neither this nor a stage that follows is too far behind."""
        return feed.given - self.past() < self.limit and _keep_up(self.node)

    def past(self) -> int:
        """How many elements of its first argument it is done with."""
        width = prod(feed.count or 1 for feed in self.feeds[1:]) if type(self.pairing) is Combined else 1
        return self.fan.settled // width

    def outcome(self) -> Output:
        """The list of all outputs, as one output of the node."""
        kept = list(self.fan.kept())
        digest = hashlib.sha256(b"".join([output.digest for outputs in kept for output in outputs])).digest()
        size = sum(output.size for outputs in kept for output in outputs)
        return Output(digest, size, "elements/1", "list")


def _keep_up(node: Node) -> bool:
    """Whether all stages that follow keep up with this one."""
    for stage in node.stages:
        feed = fan_of(stage).feed
        if feed is not None and (fan_of(node).settled - feed.past() >= AT_ONCE or not _keep_up(stage)):
            return False
    return True


def _goes_over_iterators(argument: Argument) -> bool:
    """Whether what it gives comes, in the end, from an async iterator."""
    template = argument.template
    if argument.each is None:
        return False
    if type(template) is not Ref:
        return not isinstance(template, list)
    return template.node.fan and any(_goes_over_iterators(before) for before in template.node.arguments)


def _is_quick(node: Node) -> bool:
    """Whether nothing has to be done around the calls of its elements."""
    work = node.work
    is_bare = work.is_step and work.is_async and work.is_simple and work.is_stored and not work.supplied
    return is_bare and node.trials is None and not node.has_files


def _constants_of(node: Node) -> dict[str, Any] | None:
    shared = [argument for argument in node.arguments if argument.each is None]
    if any(argument.fresh or argument.sources for argument in shared):
        return None
    return {argument.name: argument.template for argument in shared}


def describe(element: Element) -> str:
    """An element, for an error: its place and what it is."""
    what = ", ".join(item.file.path if item.file else _short(item.value) for item in element.items)
    return f" element {element.index} ({what})" if what else f" element {element.index}"


def _nobody(fanout: FanOut) -> None:
    """Nobody is told while it is being opened."""


def _short(value: object) -> str:
    if isinstance(value, (Stored, Ref)):
        return ""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # a value of the user's
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."
