"""A fan-out while it runs: its elements, their sources and the columns that gather."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any, final

from ashore.engine.columns import Columns
from ashore.engine.keys import ElementKeys, element_key
from ashore.engine.values import Blobs, Item, Stored, arguments_of, items_of, load_item
from ashore.errors import GraphError
from ashore.events import FileUse, Output
from ashore.files import File
from ashore.graph import Fan, Node, Ref, file_use
from ashore.ids import CacheKey, RunId


@final
class Element:
    """One element of a fan-out, as the pump sees it."""

    __slots__ = ("fanout", "index", "key", "node")

    def __init__(self, fanout: FanOut, index: int, key: CacheKey) -> None:
        self.fanout = fanout
        self.node = fanout.node
        self.index = index
        self.key = key


@final
class FanOut:
    """One fan-out under way."""

    __slots__ = ("columns", "fan", "items", "names", "node", "shared", "skips", "started")

    def __init__(self, node: Node, run: RunId, blobs: Blobs, shared: ElementKeys | None, started: float) -> None:
        over = [argument for argument in node.arguments if argument.each is not None]
        self.node = node
        self.names = [argument.name for argument in over]
        sources = [items_of(argument, blobs) for argument in over]
        is_product = any(argument.each is not None and argument.each.group.how == "product" for argument in over)
        self.items = list(product(*sources)) if is_product else _side_by_side(sources, node)
        self.shared = shared
        self.skips = all(argument.each is not None and argument.each.on_error == "skip" for argument in over)
        self.columns = Columns(run, node.invocation)
        self.started = started
        self.fan: Fan

    def files(self) -> list[FileUse]:
        """Files among the elements, for the log."""
        return [
            file_use(f"{name}[{index}]", item.file)
            for index, row in enumerate(self.items)
            for name, item in zip(self.names, row, strict=True)
            if item.file is not None
        ]

    def key_of(self, index: int) -> CacheKey:
        """The cache key of one element; none if the step is not reused."""
        return element_key(self.shared, self.items[index])

    def arguments(self, index: int, blobs: Blobs) -> dict[str, Any]:
        """The arguments of one element's call."""
        arguments = arguments_of(self.node, blobs)
        for name, item in zip(self.names, self.items[index], strict=True):
            arguments[name] = load_item(item, blobs)
        return arguments

    def files_of(self, index: int) -> list[File]:
        return [item.file for item in self.items[index] if item.file is not None]

    def describe(self, index: int) -> str:
        """An element, for an error: its place and what it is."""
        row = self.items[index]
        what = ", ".join(item.file.path if item.file else _short(item.value) for item in row)
        return f" element {index} ({what})" if what else f" element {index}"

    def outcome(self) -> Output:
        """The list of all outputs, as one output of the node."""
        kept = list(self.fan.kept())
        digest = hashlib.sha256(b"".join([output.digest for outputs in kept for output in outputs])).digest()
        size = sum(output.size for outputs in kept for output in outputs)
        return Output(digest, size, "elements/1", "list")


def _side_by_side(sources: list[list[Item]], node: Node) -> list[tuple[Item, ...]]:
    lengths = {len(items) for items in sources}
    if len(lengths) > 1:
        raise GraphError(
            f"{node.work.name}(each(...), ...) got lists of different lengths ({', '.join(map(str, sorted(lengths)))}): "
            "elements go side by side; use each.product for all combinations"
        )
    return list(zip(*sources, strict=True))


def _short(value: object) -> str:
    if isinstance(value, (Stored, Ref)):
        return ""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # a value of the user's
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."
