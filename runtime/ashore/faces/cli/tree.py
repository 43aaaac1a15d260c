"""Graphs as trees of lines: what has several parents is shown whole once, and named at the others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)

_DEEPEST: Final = 24
"""Levels that are indented; further ones are numbered, so that a chain of a thousand stays readable."""

BRANCH, LAST, GO_ON, NOTHING = "├─ ", "└─ ", "│  ", "   "


class Twig(NamedTuple):
    """A line of the tree: what stands before it, and whether what is below it was shown already."""

    before: str
    is_again: bool


def tree(roots: Iterable[T], below: Callable[[T], Sequence[T]]) -> Iterator[tuple[Twig, T]]:
    """The nodes from the roots downwards, each with its twig. No recursion: depth is not bounded."""
    seen: set[T] = set()
    stack: list[tuple[T, str, str, int]] = [(root, "", "", 0) for root in reversed(list(roots))]
    while stack:
        node, before, inner, depth = stack.pop()
        children = below(node)
        is_again = node in seen and bool(children)
        yield Twig(before, is_again), node
        if node in seen:
            continue
        seen.add(node)
        for place, child in reversed(list(enumerate(children))):
            is_last = place == len(children) - 1
            stack.append((child, *_indent(inner, depth + 1, is_last=is_last), depth + 1))


def _indent(inner: str, depth: int, *, is_last: bool) -> tuple[str, str]:
    """What stands before a child, and before what is below it."""
    if depth > _DEEPEST:
        base = inner[: len(GO_ON) * _DEEPEST]
        return f"{base}{depth}: ", base
    return inner + (LAST if is_last else BRANCH), inner + (NOTHING if is_last else GO_ON)
