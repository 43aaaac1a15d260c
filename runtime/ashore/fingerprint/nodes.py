"""What the walk through a closure is made of: references between its pieces, named parts, and what it could not follow."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter, is_
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from ashore.fingerprint.owners import Owner
from ashore.ids import CodeId

RULES: Final = 2
"""The rules of today: 1 is a function's own code (`ashore.fingerprint.own_code`), 2 is everything that it reaches."""

Node = Any
"""What stands for a value: lists, text, numbers and bytes, as msgpack writes them, with `Ref`s between."""

StateKey: TypeAlias = tuple[str, int, str]
"""What is changed: ("name", namespace, name), ("cell", cell, "") or ("attribute", object, name), objects by identity."""

_MISSING: Final = object()
_code: Final = attrgetter("__code__")
_defaults: Final = attrgetter("__defaults__")


def contents_of(cell: Any) -> Any:
    """What a closure's variable is; `UNSET` before it is set."""
    try:
        return cell.cell_contents
    except ValueError:
        return UNSET


UNSET: Final = object()


class Ref:
    """A function, class or module of the user's own, which is a piece of the closure by itself."""

    __slots__ = ("index", "name")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        """Its number, in the order in which the walk met it."""
        self.name = name
        """Its name without its module."""


def _indexed(ref: Any) -> Any:
    return [0, ref.index]


def _named(ref: Any) -> Any:
    return [0, ref.name]


by_index: Final = msgspec.msgpack.Encoder(enc_hook=_indexed).encode
by_name: Final = msgspec.msgpack.Encoder(enc_hook=_named).encode


class Place(NamedTuple):
    """Where a part stands. Beside its digest, never in it."""

    file: str = ""
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        name = os.path.basename(self.file)
        return f"{name}:{self.first}" + (f"-{self.last}" if self.last > self.first else "") if self.first else name


class Part(NamedTuple):
    """Something that counts: a piece of code, a value, a distribution."""

    name: str
    """"helper clean.normalize", "constant RATE", "class Model.predict", "distribution pandas" ..."""
    text: str
    """Its value, short, or a digest: equal exactly if it is the same."""
    place: Place = Place()


class Unfollowed(NamedTuple):
    """Something that the walk could not follow, so that a change of it is not seen."""

    what: str
    where: str
    """"file:line"."""
    mend: str


class Fingerprint(NamedTuple):
    """A step's code: its id, and the parts that it is made of, by name."""

    code: CodeId
    parts: tuple[tuple[str, str], ...]
    """("code", digest), ("helper clean.normalize", digest), ("constant RATE", "3"), ("distribution pandas", "3.0.1 (...)"), ..."""
    places: tuple[Place, ...] = ()
    """Where each of the parts stands, in their order."""
    unfollowed: tuple[Unfollowed, ...] = ()
    rules: int = RULES
    """Which version of the rules it was taken by."""


class Large(Exception):
    """A value has more in it than is looked at."""


class Sink(Protocol):
    """What a value is made a node for."""

    def reach(self, value: Any) -> Node:
        """The node of a function, class or module of the user's own."""
        ...

    def uses(self, owner: Owner) -> None:
        """Code of an installed distribution is used."""
        ...

    def notice(self, what: str, mend: str) -> None: ...

    def is_state(self, value: Any, name: str) -> bool:
        """Whether the code changes that attribute of an object ("": its items)."""
        ...

    def spend(self, amount: int) -> None:
        """Raises `Large` if that is too much for one value."""
        ...

    watches: Watches
    inside: dict[int, int]
    """The values that are being made nodes, outermost first, with their depths: so what contains itself is noticed."""


@dataclass(slots=True)
class Watches:
    """What a closure was taken from: it holds as long as all of this is the same. Asked before each use, so it is quick."""

    names: dict[int, tuple[dict[str, Any], list[str], list[Any]]] = field(default_factory=dict)
    """Namespaces, and which values some of their names had."""
    functions: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    defaults: list[Any] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)
    views: list[tuple[Any, tuple[Any, ...]]] = field(default_factory=list)
    """Containers, and what was in them, in order."""
    probes: list[tuple[Callable[[], object], object]] = field(default_factory=list)
    """Questions, and their answers: for what must be read to be compared."""

    def name(self, namespace: dict[str, Any], name: str) -> None:
        _, names, values = self.names.setdefault(id(namespace), (namespace, [], []))
        if name not in names:
            names.append(name)
            values.append(namespace.get(name, _MISSING))

    def view(self, view: Any) -> None:
        self.views.append((view, tuple(view)))

    def probe(self, question: Callable[[], object]) -> None:
        self.probes.append((question, question()))

    def function(self, function: Any, *, is_root: bool = False) -> None:
        """Watch a function; the root's own code and defaults are left to who asks, so that nothing here keeps it alive."""
        if not is_root:
            self.functions.append(function)
            self.codes.append(function.__code__)
            self.defaults.append(function.__defaults__)
        if function.__kwdefaults__:
            self.view(function.__kwdefaults__.values())
        self.view(function.__dict__.values())

    def cell(self, cell: Any) -> None:
        self.cells.append(cell)
        self.contents.append(contents_of(cell))

    def marks(self) -> tuple[int, int]:
        """How much there is of what grows with a value."""
        return len(self.views), len(self.probes)

    def cut(self, marks: tuple[int, int]) -> None:
        """Forget what was noted after these marks: of a value that is not looked at after all."""
        del self.views[marks[0] :]
        del self.probes[marks[1] :]

    def hold(self) -> bool:
        """Whether nothing has changed."""
        try:
            return self._hold()
        except RuntimeError:  # a container that another thread is changing
            return False

    def _hold(self) -> bool:
        for namespace, names, values in self.names.values():
            if not all(map(is_, map(namespace.get, names, repeat(_MISSING)), values)):
                return False
        if not all(map(is_, map(_code, self.functions), self.codes)) or not all(
            map(is_, map(_defaults, self.functions), self.defaults)
        ):
            return False
        if not all(map(is_, map(contents_of, self.cells), self.contents)):
            return False
        for view, items in self.views:
            if len(view) != len(items) or not all(map(is_, view, items)):
                return False
        return all([question() == answer for question, answer in self.probes])
