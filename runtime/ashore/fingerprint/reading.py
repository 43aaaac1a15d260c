"""Which names a function's code reads from outside: globals, variables of enclosing functions, imports, and their attributes."""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType
from typing import Final, NamedTuple

from ashore.fingerprint.instructions import Instruction

_GLOBALS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOCALS: Final = frozenset({"LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_CELLS: Final = _LOCALS - {"LOAD_FAST"}
_ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_STORES: Final = frozenset({"STORE_FAST", "STORE_DEREF", "STORE_NAME", "STORE_GLOBAL"})
_SETS: Final = frozenset({"STORE_ATTR", "DELETE_ATTR"})
_UNPACKING: Final = frozenset({"IMPORT_FROM", "SWAP", "POP_TOP", "COPY"})
_CALLS: Final = frozenset({"CALL"})
_BY_NAME: Final = frozenset({"getattr", "hasattr"})
_SPAN: Final = 64
"""Instructions that a call's arguments are looked for in."""


class Read(NamedTuple):
    """A name that is read, with the attributes read of it."""

    kind: str
    """"global", "free" or "import"."""
    name: str
    """A global's or variable's name; of an import the module, with a dot for each level that it is relative."""
    chain: tuple[str, ...] = ()
    is_top: bool = False
    """Of an import: whether the name is that of its first package (`import a.b`)."""
    is_used: bool = True
    """Whether the thing itself is used, not only set an attribute of or imported."""
    sets: str = ""
    """The attribute of it that is set; "[]" for an item."""
    constant: str | None = None
    """The constant text that it is asked for: `os.environ["RATE"]`, `getattr(x, "rate")`; None if there is none."""
    line: int = 0

    @property
    def dotted(self) -> str:
        """As the source has it: "config.RATE"."""
        root = self.name.partition(".")[0] if self.is_top else self.name
        return ".".join((root, *self.chain))


class Reader:
    """Collects what the code of a function and the code nested in it read."""

    def __init__(self) -> None:
        self.reads: dict[Read, int] = {}
        self.writes: set[str] = set()

    def sorted_reads(self, free: Sequence[str]) -> tuple[Read, ...]:
        """Each read once, with the first line that it stands in; of variables those that are `free`, not of the function itself."""
        outside = {read: line for read, line in self.reads.items() if read.kind != "free" or read.name in free}
        return tuple(read._replace(line=line) for read, line in sorted(outside.items(), key=lambda item: _order(item[0])))

    def read(self, code: CodeType, read: Sequence[Instruction], outer: dict[str, Read]) -> dict[str, Read]:
        """Take the reads of one code object; `outer` are variables around it that hold imports. Returns all such variables."""
        bound = {**outer, **self._imports(read)}
        skipped: set[int] = set()
        stored: set[str] = set()
        for at, instruction in enumerate(read):
            if instruction.name == "STORE_GLOBAL":
                self.writes.add(instruction.value)
            if instruction.name == "STORE_NAME":
                stored.add(instruction.value)
            start = None if at in skipped else self._start(instruction, bound, code, stored)
            if start is not None:
                self._take(read, at, start, bound, skipped)
        return bound

    def _start(self, instruction: Instruction, bound: dict[str, Read], code: CodeType, stored: set[str]) -> Read | None:
        name = instruction.value
        if instruction.name in _GLOBALS:
            if name in bound:
                return bound[name]
            is_special = name.startswith("__") and name not in ("__file__", "__import__")
            return None if is_special or (instruction.name == "LOAD_NAME" and name in stored) else Read("global", name)
        if instruction.name in _LOCALS:
            if instruction.name == "LOAD_FAST" and (name in code.co_cellvars or name in code.co_freevars):
                return None  # a cell that is handed on to a nested function
            if name in bound:
                return bound[name]
            return Read("free", name) if instruction.name in _CELLS and name in code.co_freevars else None
        return None

    def _take(self, read: Sequence[Instruction], at: int, start: Read, bound: dict[str, Read], skipped: set[int]) -> None:
        chain, end = _chain(read, at + 1)
        line = read[at].line
        sets = _set_of(read, end)
        whole = start._replace(chain=start.chain + chain, is_used=sets in ("", "[]"), sets=sets)
        if whole.dotted in _BY_NAME:
            owner, name, span = _asked_attribute(read, end, bound)
            whole = whole._replace(constant=name)
            if owner is not None:
                self._add(owner, line)
                skipped.update(span)
        else:
            whole = whole._replace(constant=_subscript(read, end) or _text(read, _arguments(read, end)[:1]))
        self._add(whole, line)

    def _imports(self, read: Sequence[Instruction]) -> dict[str, Read]:
        bound: dict[str, Read] = {}
        for at, instruction in enumerate(read):
            if instruction.name != "IMPORT_NAME":
                continue
            names, module = read[at - 1].value, "." * int(read[at - 2].value or 0) + instruction.value
            self._add(Read("import", module, is_used=False), instruction.line)
            found: Read | None = Read("import", module, is_top=not names and read[at + 1].name != "IMPORT_FROM")
            for after in read[at + 1 :]:
                if names and after.name == "IMPORT_FROM":
                    found = Read("import", module, (after.value,))
                    self._add(found._replace(is_used=False), after.line)
                elif after.name in _STORES and found is not None:
                    bound[after.value] = found
                    found = None
                    if not names:
                        break
                elif after.name not in _UNPACKING:
                    break
        return bound

    def _add(self, read: Read, line: int) -> None:
        self.reads.setdefault(read, line)


def _chain(read: Sequence[Instruction], at: int) -> tuple[tuple[str, ...], int]:
    """The attributes that are read one of the other, and where that ends."""
    names: list[str] = []
    while at < len(read) and read[at].name in _ATTRIBUTES:
        names.append(read[at].value)
        at += 1
    return tuple(names), at


def _asked_attribute(read: Sequence[Instruction], at: int, bound: dict[str, Read]) -> tuple[Read | None, str | None, range]:
    """Of `getattr(config, "rate")`: what it reads, if the object is a name; the attribute; the instructions of the object."""
    arguments = _arguments(read, at)
    name = _text(read, arguments[1:2])
    if name is None:
        return None, None, range(0)
    span = arguments[0]
    first = read[span[0]]
    start = bound.get(first.value) if first.name in _LOCALS | _GLOBALS else None
    if start is None and first.name in _GLOBALS:
        start = Read("global", first.value)
    chain, end = _chain(read, span[0] + 1)
    if start is None or end != span.stop:
        return None, name, range(0)
    return start._replace(chain=(*start.chain, *chain, name)), name, span


def _arguments(read: Sequence[Instruction], at: int) -> list[range]:
    """The instructions of each positional argument of the call whose callable was just loaded; nothing if it is no plain call."""
    starts: dict[int, int] = {}
    depth = 0
    for place in range(at, min(at + _SPAN, len(read))):
        instruction = read[place]
        if instruction.name == "KW_NAMES" or (instruction.name == "PUSH_NULL" and depth == 0):
            continue
        if instruction.name in _CALLS and instruction.number == depth:
            found = [starts[level] for level in range(depth) if level in starts]
            return (
                [range(start, stop) for start, stop in zip(found, [*found[1:], place], strict=False)] if len(found) == depth else []
            )
        before, depth = depth, depth + instruction.goes
        if instruction.target >= 0 or depth < 0:
            return []
        if depth > before:
            starts = {**{level: start for level, start in starts.items() if level < before}, before: place}
    return []


def _text(read: Sequence[Instruction], spans: Sequence[range]) -> str | None:
    """The text, if the argument is nothing but a constant."""
    if len(spans) == 1 and len(spans[0]) == 1:
        only = read[spans[0][0]]
        return only.value if only.name == "LOAD_CONST" and isinstance(only.value, str) else None
    return None


def _subscript(read: Sequence[Instruction], at: int) -> str | None:
    if at + 1 < len(read) and read[at].name == "LOAD_CONST" and read[at + 1].name == "BINARY_SUBSCR":
        return read[at].value if isinstance(read[at].value, str) else None
    return None


def own_changes(code: CodeType, read: Sequence[Instruction]) -> tuple[set[str], set[str]]:
    """Of a method: the attributes of its object that it changes, "" for the object's own items; and those that it reads."""
    changed: set[str] = set()
    asked: set[str] = set()
    first = code.co_varnames[0] if code.co_argcount else ""
    for at, instruction in enumerate(read):
        if first and instruction.name in _LOCALS and instruction.value == first:
            chain, end = _chain(read, at + 1)
            change = change_of(chain, _set_of(read, end))
            asked.update(chain[:1])
            if change is not None:
                changed.add(change)
    return changed, asked


def change_of(chain: Sequence[str], sets: str) -> str | None:
    """Which attribute of an object is changed by what is done with it; "" for its own items, None for nothing."""
    if sets:
        return chain[0] if chain else "" if sets == "[]" else sets
    if chain and chain[-1] in CHANGERS:
        return chain[0] if len(chain) > 1 else ""
    return None


def _set_of(read: Sequence[Instruction], at: int) -> str:
    """What is set of the thing that was just loaded: an attribute's name, "[]" for an item, "" for nothing."""
    if at < len(read) and read[at].name in _SETS:
        return str(read[at].value)
    if at + 1 < len(read) and read[at].name == "COPY" and read[at + 1].name == "LOAD_ATTR":  # an attribute += ...
        return str(read[at + 1].value)
    depth = 0
    for place in range(at, min(at + _SPAN, len(read))):
        instruction = read[place]
        is_stored = instruction.name == "STORE_SUBSCR" and (depth == 1 or (depth == _ITEM and read[place - 1].name == "SWAP"))
        if is_stored or (instruction.name == "DELETE_SUBSCR" and depth == 1):
            return "[]"
        depth += instruction.goes if instruction.name != "KW_NAMES" else 0
        if depth <= 0 or instruction.target >= 0:
            return ""
    return ""


_ITEM: Final = 2
"""Values above a container when an item of it is changed: key and new value."""
CHANGERS: Final = frozenset({
    *("append", "extend", "insert", "remove", "pop", "clear", "add", "discard", "update", "setdefault", "popitem", "appendleft"),
    *("extendleft", "popleft", "rotate", "sort", "reverse", "put", "put_nowait", "set", "subtract", "move_to_end", "write"),
    *("difference_update", "intersection_update", "symmetric_difference_update", "writelines", "__setitem__", "__delitem__"),
})  # fmt: skip
"""Methods by which containers, and what is like them, are changed."""


def _order(read: Read) -> tuple[str, str, tuple[str, ...], bool, bool, str, str]:
    return (read.kind, read.name, read.chain, read.is_top, read.is_used, read.sets, read.constant or "")
