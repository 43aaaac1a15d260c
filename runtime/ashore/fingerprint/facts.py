"""What the closure takes from a code object: what it does, as a digest, and which names it reads from outside."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final, NamedTuple

from ashore.codec import encode
from ashore.fingerprint.flow import SWAPPED, flow_of
from ashore.fingerprint.instructions import Instruction, instructions_of
from ashore.fingerprint.reading import Read, Reader, own_changes
from ashore.ids import hash_id

_FLAGS: Final = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
_BITS: Final = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 3}
"""Low bits of a name's argument that say how it is used; the rest is its place in a table."""
_NAMES: Final = frozenset({*dis.hasname, *dis.haslocal, *dis.hasfree})
_CONSTANTS: Final = frozenset({"LOAD_CONST", "KW_NAMES", "RETURN_CONST", "LOAD_SMALL_INT"})
_KEPT: Final = 4096
"""Code objects whose facts are kept; the oldest half goes when there are more."""


class Facts(NamedTuple):
    """What a function's code does and reads, nested functions and classes included."""

    digest: bytes
    reads: tuple[Read, ...]
    """In one order, whatever the layout; each once."""
    writes: tuple[str, ...]
    """Globals that it sets."""
    changes: frozenset[str]
    """Attributes of its first argument that it changes; "" for items of it."""
    asks: frozenset[str]
    """Attributes of its first argument that it reads, and so may call."""
    first: int
    last: int
    """Lines."""


_facts: dict[int, tuple[CodeType, Facts]] = {}
"""By the identity of the code object, which is kept so that it stays its own; equal code may stand at several places."""


def facts_of(code: CodeType) -> Facts:
    """Kept per code object: it cannot change."""
    known = _facts.get(id(code))
    if known is None:
        reader = Reader()
        digest = hash_id(encode(_structure(code, reader, {})))
        changes, asks = map(frozenset, own_changes(code, instructions_of(code)))
        last = max(_lines(code), default=code.co_firstlineno)
        facts = Facts(
            digest, reader.sorted_reads(code.co_freevars), tuple(sorted(reader.writes)), changes, asks, code.co_firstlineno, last
        )
        if len(_facts) >= _KEPT:
            for old in list(_facts)[: _KEPT // 2]:
                del _facts[old]
        known = _facts[id(code)] = (code, facts)
    return known[1]


def _lines(code: CodeType) -> Iterator[int]:
    for _, _, line in code.co_lines():
        if line is not None:
            yield line
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _lines(constant)


def _structure(code: CodeType, reader: Reader, bound: dict[str, Read]) -> list[Any]:
    read = instructions_of(code)
    inner = reader.read(code, read, bound)

    def nested(value: CodeType) -> list[Any]:
        return _structure(value, reader, {name: inner[name] for name in value.co_freevars if name in inner})

    operands = [encode(_operand(instruction, nested)) for instruction in read]
    parameters = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    parameters += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return [
        [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS],
        list(code.co_varnames[:parameters]),
        flow_of(code, read, operands),
    ]


def _operand(instruction: Instruction, nested: Callable[[CodeType], list[Any]]) -> list[Any]:
    name, value = instruction.name, instruction.value
    shown = SWAPPED.get(name, name)
    if instruction.target >= 0:
        return [shown]
    if isinstance(value, CodeType):
        return [shown, "code", nested(value)]
    if name in _CONSTANTS:
        return [shown, encode(value)]
    if instruction.opcode in _NAMES or isinstance(value, str):
        return [shown, list(value) if isinstance(value, tuple) else value, instruction.number & _BITS.get(name, 0)]
    return [shown, instruction.number]
