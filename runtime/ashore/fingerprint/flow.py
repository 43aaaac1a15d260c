"""A function's instructions as what may follow what, in one canonical order.

How a function is laid out in lines decides how its compiler threads jumps and which ends it copies. So instructions are taken as
states of an automaton (what it does, which may follow, who handles its exceptions), equal states are made one, and they are
numbered in the order in which they are met from the start.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any, Final, NamedTuple

from ashore.fingerprint.instructions import Instruction, is_goto

_ENDS: Final = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"})
_NOWHERE: Final = -1


SWAPPED: Final = {"POP_JUMP_IF_TRUE": "POP_JUMP_IF_FALSE", "POP_JUMP_IF_NONE": "POP_JUMP_IF_NOT_NONE"}
"""Tests that are written as their opposites, with the two ways out exchanged."""


class State(NamedTuple):
    """Where an instruction leads: next, where it jumps, who handles its exceptions, and how."""

    follow: tuple[int, ...]
    how: int


def flow_of(code: CodeType, read: Sequence[Instruction], operands: Sequence[Any]) -> list[Any]:
    """For each different state, in the order met: [operand, numbers of those that follow, how its exceptions are handled].

    `operands` say what each instruction does, hashable.
    """
    states = _states(code, read)
    if not states:
        return []
    classes = _classes(states, operands)
    order: dict[int, int] = {}
    shown: list[Any] = []
    waiting = [_entry(read)]
    while waiting:
        at = waiting.pop()
        if classes[at] in order:
            continue
        order[classes[at]] = len(order)
        shown.append(at)
        waiting.extend(reversed([follow for follow in states[at].follow if follow >= 0]))
    return [[operands[at], [_number(follow, classes, order) for follow in states[at].follow], states[at].how] for at in shown]


def _number(state: int, classes: list[int], order: dict[int, int]) -> int:
    return order[classes[state]] if state >= 0 else _NOWHERE


def _entry(read: Sequence[Instruction]) -> int:
    offsets = [instruction.offset for instruction in read]
    return _landing(0, read, offsets)


def _states(code: CodeType, read: Sequence[Instruction]) -> list[State]:
    offsets = [instruction.offset for instruction in read]
    spans = list(handlers(code.co_exceptiontable))
    states = []
    for at, instruction in enumerate(read):
        following = _NOWHERE if instruction.name in _ENDS else _landing(at + 1, read, offsets)
        jumps = _landing(bisect_left(offsets, instruction.target), read, offsets) if instruction.target >= 0 else _NOWHERE
        handler, how = _NOWHERE, 0
        for (start, end, target), kind in spans:
            if start <= instruction.offset < end:
                handler, how = _landing(bisect_left(offsets, target), read, offsets), kind
        if instruction.name in SWAPPED:
            following, jumps = jumps, following
        states.append(State((following, jumps, handler), how))
    return states


def _landing(at: int, read: Sequence[Instruction], offsets: list[int]) -> int:
    """The first instruction from `at` on that does more than go elsewhere."""
    seen = set()
    while at < len(read) and is_goto(read[at]) and at not in seen:
        seen.add(at)
        at = bisect_left(offsets, read[at].target)
    return at if at < len(read) else _NOWHERE


def _classes(states: list[State], operands: Sequence[Any]) -> list[int]:
    """A number for each state, the same for states that do the same and lead to the same."""
    numbers: dict[Any, int] = {}
    classes = [_NOWHERE] * len(states)
    for group in _groups(states):
        if len(group) == 1 and group[0] not in states[group[0]].follow:
            at = group[0]
            kind = (operands[at], states[at].how, tuple(_class(f, classes) for f in states[at].follow))
            classes[at] = numbers.setdefault(kind, len(numbers))
        else:
            _refine(group, states, operands, classes, numbers)
    return classes


def _class(state: int, classes: list[int]) -> int:
    return classes[state] if state >= 0 else _NOWHERE


def _refine(group: list[int], states: list[State], operands: Sequence[Any], classes: list[int], numbers: dict[Any, int]) -> None:
    """Tell the states of a loop apart: first by what they do, then by what follows, until nothing new is told apart."""
    inside = set(group)
    colours: dict[int, int] = dict.fromkeys(group, 0)
    count = 0
    while True:
        kinds: dict[Any, int] = {}
        new = {}
        for at in group:
            follow = tuple((True, colours[f]) if f in inside else (False, _class(f, classes)) for f in states[at].follow)
            new[at] = kinds.setdefault((colours[at], operands[at], states[at].how, follow), len(kinds))
        colours = new
        if len(kinds) == count:
            break
        count = len(kinds)
    base = len(numbers)
    for at in group:
        classes[at] = numbers.setdefault(("loop", base, colours[at]), len(numbers))


def _groups(states: list[State]) -> Iterator[list[int]]:
    """Strongly connected groups of states, those that are led to first (Tarjan's, without recursion)."""
    search = _Search([[follow for follow in state.follow if follow >= 0] for state in states])
    for root in range(len(states)):
        if root not in search.index:
            yield from search.groups(root)


class _Search:
    """One search through the states, depth first."""

    def __init__(self, follow: list[list[int]]) -> None:
        self.follow = follow
        self.index: dict[int, int] = {}
        self._low: dict[int, int] = {}
        self._stack: list[int] = []
        self._on_stack: set[int] = set()

    def groups(self, root: int) -> Iterator[list[int]]:
        self._enter(root)
        work = [(root, iter(self.follow[root]))]
        while work:
            at, rest = work[-1]
            new = self._next(at, rest)
            if new is not None:
                self._enter(new)
                work.append((new, iter(self.follow[new])))
                continue
            work.pop()
            if work:
                above = work[-1][0]
                self._low[above] = min(self._low[above], self._low[at])
            if self._low[at] == self.index[at]:
                yield self._cut(at)

    def _enter(self, at: int) -> None:
        self.index[at] = self._low[at] = len(self.index)
        self._stack.append(at)
        self._on_stack.add(at)

    def _next(self, at: int, rest: Iterator[int]) -> int | None:
        for follow in rest:
            if follow not in self.index:
                return follow
            if follow in self._on_stack:
                self._low[at] = min(self._low[at], self.index[follow])
        return None

    def _cut(self, at: int) -> list[int]:
        start = self._stack.index(at)
        group = self._stack[start:]
        del self._stack[start:]
        self._on_stack.difference_update(group)
        return group


def handlers(table: bytes) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Entries of an exception table: (start, end, target) in bytes, depth and kind. The format is CPython's own."""
    numbers = _varints(table)
    for start in numbers:
        length, target, how = next(numbers), next(numbers), next(numbers)
        yield (start * 2, (start + length) * 2, target * 2), how


def _varints(table: bytes) -> Iterator[int]:
    value = 0
    for byte in table:
        value = value << 6 | byte & 0x3F
        if not byte & 0x40:
            yield value
            value = 0
