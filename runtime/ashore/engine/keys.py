"""Cache keys: under which results are found again. One rule for single calls and for the elements of a fan-out.

A key is the step's code and, argument by argument in their order, its name, its plain value (or the shape around its inputs) and
the contents of its inputs. What `Cache(ignore=[...])` names is left out. So `read(file)` finds what `read(each(files))` made of the
same file, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from ashore.engine.values import Item, content_of
from ashore.graph import Argument, Node
from ashore.ids import NO_KEY, CacheKey, hash_id

_RULES: Final = b"keys/2"
"""The version of the rules by which keys are made: it is part of every key."""
_LONG: Final = 64
"""Bytes from which on a plain value stands in a key by its hash, so that a large one is not hashed again for each element."""

Part: TypeAlias = bytes | int
"""A piece of a key; a number: the place of an element's item."""


def key_of(node: Node) -> CacheKey:
    """The cache key of a single call."""
    ignored = node.work.definition.ignored
    parts: list[bytes] = [_RULES, node.code]
    for argument in node.arguments:
        if not ignored or argument.name not in ignored:
            parts += _parts_of(argument)
    return CacheKey(hash_id(*parts))


def _parts_of(argument: Argument) -> list[bytes]:
    encoded = argument.encoded
    parts = [argument.name.encode(), encoded if len(encoded) < _LONG else hash_id(encoded), argument.places]
    parts += [content_of(source) for source in argument.sources]
    return parts


class ElementKeys:
    """The keys of a fan-out's elements: what all of them share is made once."""

    __slots__ = ("_parts",)

    def __init__(self, node: Node) -> None:
        ignored = node.work.definition.ignored
        self._parts: list[Part] = [_RULES, node.code]
        place = -1
        for argument in node.arguments:
            place += argument.each is not None
            if argument.name in ignored:
                continue
            self._parts += [argument.name.encode(), place] if argument.each is not None else _parts_of(argument)

    def of(self, items: Sequence[Item]) -> CacheKey:
        """The key of the element with these items, one for each argument that is gone over."""
        parts: list[bytes] = []
        for part in self._parts:
            if type(part) is int:
                parts += _parts_of_item(items[part])
            else:
                parts.append(part)  # type: ignore[arg-type]  # it is bytes then
        return CacheKey(hash_id(*parts))


def _parts_of_item(item: Item) -> tuple[bytes, ...]:
    """As `_parts_of` has them for the same value as an argument; of a template with inputs in it a single digest of all."""
    identity = item.identity
    if item.is_plain:
        return (identity if len(identity) < _LONG else hash_id(identity), b"")
    return (b"", b"", identity)


def element_key(shared: ElementKeys | None, items: Sequence[Item]) -> CacheKey:
    """The cache key of one element; none if the step is not reused."""
    return NO_KEY if shared is None else shared.of(items)
