"""What a function's code does, as bytes, by the first rules of fingerprints: never change them.

Taken from the code object, instruction by instruction, with names and constants in their places. So file, line numbers,
docstrings, comments and the annotations of the function itself do not count, nor does layout as far as the compiler makes the same
instructions of it; nested functions and classes do count. Bytes differ between minor versions of Python, which compile differently.
"""

from __future__ import annotations

import dis
import inspect
from bisect import bisect_left
from types import CodeType
from typing import Any, NamedTuple

from ashore.codec import encode
from ashore.fingerprint.flow import handlers
from ashore.ids import hash_id

_FLAGS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
_CONSTANTS = frozenset(dis.hasconst)
_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})
_NAMES = frozenset(dis.hasname)
_NOTHING = frozenset({"NOP", "EXTENDED_ARG", "CACHE"})
_TEXT_ONLY = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
"""What a class body stores about its text."""
_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


class CodeFacts(NamedTuple):
    """What a fingerprint takes from a code object."""

    digest: bytes
    globals: tuple[str, ...]
    """Names that it, or code nested in it, reads from its module, in order of the alphabet; without `__name__` and its like."""


def facts_of(code: CodeType) -> CodeFacts:
    """Digest and read names of a code object."""
    reads: set[str] = set()
    return CodeFacts(hash_id(encode(_structure(code, reads))), tuple(sorted(reads)))


def _structure(code: CodeType, reads: set[str]) -> list[Any]:
    instructions = [instruction for instruction in dis.get_instructions(code) if instruction.opname not in _NOTHING]
    offsets = [instruction.offset for instruction in instructions]
    steps = [[instruction.opname, *_operand(instruction, code, offsets, reads)] for instruction in instructions]
    for before, instruction, step in zip(steps, instructions[1:], steps[1:], strict=False):
        if instruction.opname == "STORE_NAME" and instruction.argval in _TEXT_ONLY:
            before[1:] = step[1:] = []
    parameters = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    parameters += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return [
        [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS],
        list(code.co_varnames[:parameters]),
        steps,
        [[bisect_left(offsets, at) for at in where] + [how] for where, how in handlers(code.co_exceptiontable)],
    ]


def _operand(instruction: dis.Instruction, code: CodeType, offsets: list[int], reads: set[str]) -> list[Any]:
    value = instruction.argval
    if instruction.opcode in _CONSTANTS and instruction.arg is not None:
        return [_constant(code.co_consts[instruction.arg], reads)]  # dis itself does not look up the names of KW_NAMES
    if instruction.opcode in _JUMPS:
        return [bisect_left(offsets, value)]
    if instruction.opname in _READS and not value.startswith("__"):
        reads.add(value)
    if instruction.opcode in _NAMES:
        return [value, instruction.arg]  # low bits of the argument say how the name is used
    if isinstance(value, tuple) and all(isinstance(name, str) for name in value):
        return list(value)
    return [value if isinstance(value, str) else instruction.arg]


def _constant(value: Any, reads: set[str]) -> Any:
    if isinstance(value, CodeType):
        return _structure(value, reads)
    return encode(value)
