"""A code object's instructions without what is only text: annotations of nested functions and classes, docstrings, line numbers.

Compilers join instructions that stand on one line, and name jumps by their direction; here each is written in one way.
"""

from __future__ import annotations

import dis
from bisect import bisect_left
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

_NOTHING: Final = frozenset({"NOP", "EXTENDED_ARG", "CACHE", "SETUP_ANNOTATIONS", "PRECALL", "RESUME", "NOT_TAKEN"})
_TEXT_ONLY: Final = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
"""What a class body stores about its text."""
_CONSTANTS: Final = frozenset(dis.hasconst)
_JUMPS: Final = frozenset({*dis.hasjrel, *dis.hasjabs})
_ANNOTATIONS: Final = 4
"""The flag of a function that is made with annotations."""
_PAIR: Final = 2
_DIRECTIONS: Final = ("_FORWARD", "_BACKWARD_NO_INTERRUPT", "_BACKWARD", "_NO_INTERRUPT")
_JUMP_ALWAYS: Final = "JUMP"


@dataclass(slots=True)
class Instruction:
    """One instruction, to be read and rewritten."""

    name: str
    number: int
    """The raw argument; 0 if there is none."""
    value: Any
    """The constant, name or names that the argument stands for; of other ones the number."""
    offset: int
    line: int
    target: int = -1
    """Where it jumps to, as an offset; -1: nowhere."""
    opcode: int = 0

    @property
    def goes(self) -> int:
        """How many values more lie on the stack after it."""
        if self.name == "CALL":
            return -self.number - 1  # 3.11 has half of it in the PRECALL that is left out here
        return _effect(self.opcode, self.number) if self.opcode else _EFFECTS[self.name]


_EFFECTS: Final = {"LOAD_FAST": 1, "STORE_FAST": -1, "LOAD_CONST": 1, "RETURN_VALUE": -1, "ANNOTATED": 0}


def instructions_of(code: CodeType) -> list[Instruction]:
    """The instructions that do something, in the order of the code object."""
    read: list[Instruction] = []
    line = code.co_firstlineno
    for raw in dis.get_instructions(code):
        line = (raw.positions.lineno if raw.positions else None) or line
        if raw.opname not in _NOTHING:
            read += _read(raw, code, line)
    return _threaded(_without_class_texts(_without_annotations(read)))


def _read(raw: dis.Instruction, code: CodeType, line: int) -> list[Instruction]:
    names = raw.opname.split("_")
    value = raw.argval
    if isinstance(value, tuple) and len(value) == _PAIR and raw.opname.count("_FAST") == _PAIR:  # LOAD_FAST_STORE_FAST and its like
        doing = [names[0], names[2]]
        return [Instruction(f"{do}_FAST", 0, name, raw.offset, line) for do, name in zip(doing, value, strict=True)]
    if raw.opname == "RETURN_CONST":
        constant = code.co_consts[raw.arg or 0]
        return [Instruction("LOAD_CONST", 0, constant, raw.offset, line), Instruction("RETURN_VALUE", 0, None, raw.offset, line)]
    if raw.opcode in _CONSTANTS and raw.arg is not None:
        value = code.co_consts[raw.arg]  # dis itself does not look up the names of KW_NAMES
    target = int(raw.argval) if raw.opcode in _JUMPS else -1
    return [Instruction(_named(raw.opname), raw.arg or 0, value, raw.offset, line, target, raw.opcode)]


def _named(name: str) -> str:
    if "JUMP" in name:
        for direction in _DIRECTIONS:
            name = name.replace(direction, "")
        return name
    return "LOAD_FAST" if name in ("LOAD_FAST_CHECK", "LOAD_FAST_BORROW") else name


def is_goto(instruction: Instruction) -> bool:
    """Whether it does nothing but go elsewhere."""
    return instruction.name == _JUMP_ALWAYS


def _without_annotations(read: list[Instruction]) -> list[Instruction]:
    targets = {instruction.target for instruction in read}
    gone: set[int] = set()
    for at in range(len(read) - 1, -1, -1):
        if at in gone:
            continue
        if read[at].name == "MAKE_FUNCTION" and read[at].number & _ANNOTATIONS:
            closure = int(bool(read[at].number & 8))
            if _drop_value(read, _before(read, at, 1 + closure, gone, targets), gone, targets):
                read[at].number &= ~_ANNOTATIONS
        elif read[at].name == "SET_FUNCTION_ATTRIBUTE" and read[at].number == _ANNOTATIONS:
            if _drop_value(read, _before(read, at, 1, gone, targets), gone, targets):
                gone.add(at)
        elif _stores_annotation(read, at) and _drop_value(read, at - 2, gone, targets):
            gone.update((at - 2, at - 1))
            read[at] = Instruction("ANNOTATED", 0, read[at - 1].value, read[at].offset, read[at].line)
    return [instruction for at, instruction in enumerate(read) if at not in gone]


def _stores_annotation(read: list[Instruction], at: int) -> bool:
    return (
        read[at].name == "STORE_SUBSCR"
        and at >= _PAIR
        and read[at - 2].value == "__annotations__"
        and isinstance(read[at - 1].value, str)
    )


def _before(read: list[Instruction], at: int, values: int, gone: set[int], targets: set[int]) -> int:
    """Where the instructions begin that put `values` values on the stack just before `at`; -1 if that is no straight line."""
    missing = values
    while missing > 0:
        at -= 1
        if at < 0:
            return -1
        if at in gone:
            continue
        if read[at].target >= 0 or read[at].offset in targets:
            return -1
        missing -= read[at].goes
    return at if missing == 0 else -1


def _drop_value(read: list[Instruction], at: int, gone: set[int], targets: set[int]) -> bool:
    """Mark the instructions that make the one value before `at`."""
    start = _before(read, at, 1, gone, targets) if at >= 0 else -1
    if start < 0:
        return False
    gone.update(range(start, at))
    return True


def _without_class_texts(read: list[Instruction]) -> list[Instruction]:
    gone: set[int] = set()
    for at, instruction in enumerate(read):
        if instruction.name == "STORE_NAME" and instruction.value in _TEXT_ONLY and at and read[at - 1].name == "LOAD_CONST":
            gone.update((at - 1, at))
    return [instruction for at, instruction in enumerate(read) if at not in gone]


def _threaded(read: list[Instruction]) -> list[Instruction]:
    """A test whose outcome the next test finds again leads where that one leads: `(a and b) or c` in one line or in three."""
    offsets = [instruction.offset for instruction in read]
    for instruction in reversed(read):
        while (outcome := _KEPT.get(instruction.name)) is not None:
            at = bisect_left(offsets, instruction.target)
            while at < len(read) and is_goto(read[at]):
                at = bisect_left(offsets, read[at].target)
            if at + 1 >= len(read) or read[at].name not in _TESTS:
                break
            says, keeps = _TESTS[read[at].name]
            jumps = says is outcome
            instruction.target = read[at].target if jumps else read[at + 1].offset
            instruction.opcode = 0
            if not (jumps and keeps):
                instruction.name = "POP_JUMP_IF_TRUE" if outcome else "POP_JUMP_IF_FALSE"
    return read


_KEPT: Final = {"JUMP_IF_TRUE_OR_POP": True, "JUMP_IF_FALSE_OR_POP": False}
_TESTS: Final = {
    "POP_JUMP_IF_TRUE": (True, False),
    "POP_JUMP_IF_FALSE": (False, False),
    "JUMP_IF_TRUE_OR_POP": (True, True),
    "JUMP_IF_FALSE_OR_POP": (False, True),
}
"""Which outcome jumps, and whether it keeps the value."""


def _effect(opcode: int, number: int) -> int:
    return dis.stack_effect(opcode, number if opcode >= dis.HAVE_ARGUMENT else None, jump=False)
