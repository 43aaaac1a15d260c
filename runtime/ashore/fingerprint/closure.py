"""The walk from a step's function to everything of the user's own that it can reach.

Functions, classes and whole modules are pieces, numbered in the order in which the walk meets them, so that neither names of
modules nor recursion matter; values stand where they are read. The digest is over all pieces with their links; the parts are the
same by name, so that one can say what changed.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from ashore.codec import is_plain, show
from ashore.fingerprint.annotated import annotated_classes, class_around
from ashore.fingerprint.classes import attributes_of, shape_of
from ashore.fingerprint.declared import Cache, names_in
from ashore.fingerprint.facts import facts_of
from ashore.fingerprint.following import Follower
from ashore.fingerprint.nodes import (
    UNSET,
    Large,
    Node,
    Part,
    Place,
    Ref,
    StateKey,
    Unfollowed,
    Watches,
    by_index,
    by_name,
    contents_of,
)
from ashore.fingerprint.owners import OWN, Installed, Owner, owner_of, with_required
from ashore.fingerprint.places import placed
from ashore.fingerprint.state import changed_in
from ashore.fingerprint.values import node
from ashore.ids import hash_id

_MOST: Final = 16 * 1024 * 1024
"""Bytes and elements of one value that are looked at."""
_TEXT_SHOWN: Final = 80
_PLAIN_CELLS: Final = (str, int, float, bool, type(None), tuple, FunctionType, type)
_HOLDERS: Final = (
    *(FunctionType, type, MethodType, staticmethod, classmethod, property),
    *(functools.partial, functools.partialmethod, functools.cached_property, functools.singledispatchmethod),
    type(functools.lru_cache(len)),
)
"""What stands for the functions in it."""
_CONTAINERS: Final = (list, dict, set, deque)
_MISSING: Final = object()
_LARGE_MEND: Final = "Pass it as an input, or name its file: @step(cache=Cache(files=[...]))"
_STATE_MEND: Final = "Pass it as an input and return it changed; if its content matters, list it: @step(cache=Cache(extra=[...]))"


def walked(function: FunctionType, cache: Cache) -> Walk:
    """A walk that knows from its start what the code changes: as often as such things are found."""
    walk = Walk(function, cache)
    known: frozenset[StateKey] = frozenset()
    while not walk.changed <= known:
        known |= walk.changed
        walk = Walk(function, cache, known)
    return walk


class Walk:
    """One walk. Afterwards: `digest`, `parts`, `unfollowed`, `watches`, `sources`."""

    def __init__(self, function: FunctionType, cache: Cache, state: frozenset[StateKey] = frozenset()) -> None:
        self.home = str(function.__globals__.get("__name__", ""))
        self.watches = Watches()
        self.inside: dict[int, int] = {}
        self.parts: list[Part] = []
        self.sources: list[tuple[str, Any]] = []
        """What the parts of code are: functions and classes, by the names of their parts."""
        self.cache = cache
        self._ignored = cache.ignored
        code = function.__code__
        self._never_met = set(self._ignored.difference(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]))
        self._unfollowed: dict[Unfollowed, None] = {}
        self._pieces: dict[int, tuple[Any, Ref]] = {}
        self._graph: list[Node] = []
        self._waiting: deque[tuple[Ref, Callable[[], Node]]] = deque()
        self._constants: dict[tuple[int, str], Node] = {}
        self._installed: dict[str, Installed] = {}
        self._names: dict[str, int] = {}
        self._spent = 0
        self.at = ""
        """What is being walked, as "file:line"; and the value in it."""
        self.of = ""
        self._root = function
        self._state = state
        self.changed: set[StateKey] = set()
        """Which names and attributes the code changes, as far as met: they are state, not constants."""
        self._names_of = Follower(self)
        self._walk(function)

    def _walk(self, function: FunctionType) -> None:
        self.reach(function)
        extra = self.cache.extra
        extras = extra if isinstance(extra, dict) else {"": extra} if extra is not None else {}
        links = [[str(name), self.named(f"extra {name}".strip(), value)] for name, value in extras.items()]
        while self._waiting:
            ref, fill = self._waiting.popleft()
            self._graph[ref.index] = fill()
        for name in sorted(self._never_met):
            self.at, self.of = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}", ""
            self.notice(f"ignore={name!r} names nothing that the step reaches", "Write a parameter, or a part as it is listed here")
        distributions = {one.name: one for first in self._installed.values() for one in with_required(first)}
        for name, one in sorted(distributions.items()):
            self._part(f"distribution {name}", f"{one.version} ({one.digest.hex()[:12]})")
        environment = [(name, os.environ.get(name)) for name in names_in(self.cache.env)]
        for name, content in environment:
            self.watches.probe(functools.partial(os.environ.get, name))
            self._part(f"env {name}", "not set" if content is None else hash_id(content.encode("utf-8", "surrogateescape")).hex())
        known = [[name, one.digest] for name, one in sorted(distributions.items())]
        shown = [[name, None if content is None else content.encode("utf-8", "surrogateescape")] for name, content in environment]
        self.digest = hash_id(by_index([self._graph, links, known, shown]))

    @property
    def unfollowed(self) -> tuple[Unfollowed, ...]:
        """What could not be followed, in the order met."""
        return tuple(self._unfollowed)

    # what values ask for

    def reach(self, value: Any) -> Node:
        """A function, class or module: a piece if it is the user's own, else its name."""
        owner = owner_of(value)
        if owner is not OWN:
            self.uses(owner)
            if isinstance(value, FunctionType):
                return self._foreign(value)
            return ["of others", getattr(value, "__qualname__", getattr(value, "__name__", ""))]
        known = self._pieces.get(id(value))
        if known is not None:
            return known[1]
        name = self._name(value)
        if self._is_ignored(name):
            return ["ignored"]
        ref = Ref(len(self._graph), str(getattr(value, "__qualname__", "module")))
        self._pieces[id(value)] = (value, ref)
        self._graph.append(None)
        fill = self._function if isinstance(value, FunctionType) else self._class if isinstance(value, type) else self._module
        self._waiting.append((ref, lambda: fill(value, self._once(name))))
        return ref

    def _is_ignored(self, name: str) -> bool:
        """Whether the step declares that this does not count, by its whole name or without its kind."""
        for shown in (name, name.partition(" ")[2]):
            if shown and shown in self._ignored:
                self._never_met.discard(shown)
                return True
        return False

    def uses(self, owner: Owner) -> None:
        """Note the distribution."""
        if owner.distribution is not None:
            self._installed.setdefault(owner.distribution.name, owner.distribution)

    def notice(self, what: str, mend: str) -> None:
        """Note what cannot be followed, where the walk is."""
        self._unfollowed.setdefault(Unfollowed(f"{self.of}: {what}" if self.of else what, self.at, mend))

    def spend(self, amount: int) -> None:
        """Count what one value holds."""
        self._spent += amount
        if self._spent > _MOST:
            raise Large(f"it holds more than is looked at ({_MOST >> 20} MiB)")

    # pieces

    def _function(self, function: FunctionType, name: str) -> Node:
        facts = facts_of(function.__code__)
        place = Place(function.__code__.co_filename, facts.first, facts.last)
        self.at, self.of = f"{place.file}:{place.first}", ""
        self.watches.function(function, is_root=function is self._root)
        self.sources.append((name, function))
        at = len(self.parts)
        prefix = "" if function is self._root else f"{name.partition(' ')[2]}."
        links = [
            *self._defaults(function, prefix),
            *self._variables(function, prefix),
            *([read.dotted, *self._names_of.read(function, read)] for read in facts.reads),
            *([f".{key}", node(self, value)] for key, value in self._attributes(function)),
        ]
        self.changed.update(("name", id(function.__globals__), written) for written in facts.writes)
        if function is self._root:
            links += [
                ["of", self.reach(cls)] for cls in (*class_around(function), *annotated_classes(function)) if owner_of(cls) is OWN
            ]
        refs = [link for link in links if any(isinstance(part, Ref) for part in link)]
        self.parts.insert(at, Part(name, hash_id(facts.digest, by_name(refs)).hex(), place))
        return ["function", facts.digest, links]

    def _defaults(self, function: FunctionType, prefix: str) -> list[Node]:
        code = function.__code__
        defaults = function.__defaults__ or ()
        positional = code.co_varnames[: code.co_argcount]
        named = [
            *zip(positional[len(positional) - len(defaults) :], defaults, strict=True),
            *sorted((function.__kwdefaults__ or {}).items()),
        ]
        is_root = function is self._root
        return [
            [f"={name}", self.named(f"default {prefix}{name}", value)]
            for name, value in named
            if not (is_root and name in self._ignored)
        ]

    def _variables(self, function: FunctionType, prefix: str) -> list[Node]:
        links = []
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = contents_of(cell)
            self.watches.cell(cell)
            if ("cell", id(cell), "") in self._state:
                links.append([f"^{name}", self._state_of(f"variable {prefix}{name}", value)])
            elif value is not UNSET and not isinstance(value, ModuleType) and name != "__class__":
                links.append([f"^{name}", self.named(f"variable {prefix}{name}", value)])
            if name == "__class__" and isinstance(value, type):
                links.append([f"^{name}", self.reach(value)])
        return links

    def _class(self, cls: type, name: str) -> Node:
        self.at, self.of = f"{getattr(_module_of(cls), '__file__', '')}", name
        self.watches.view(vars(cls).values())
        self.sources.append((name, cls))
        at = len(self.parts)
        shape = shape_of(self, cls)
        links, small = [], []
        for key, value in attributes_of(cls):
            if self.is_state(cls, key) or (isinstance(value, _CONTAINERS) and key in changed_in(cls)):
                continue
            if key.startswith("__") or _holds_code(value):
                small.append([key, self.named("", value)])
            else:
                links.append([key, self.named(f"{name}.{key}", value)])
        self.parts.insert(at, Part(name, hash_id(by_name([shape, small])).hex(), Place(self.at)))
        return ["class", shape, small, links]

    def _module(self, module: ModuleType, name: str) -> Node:
        """All of a module: where it is used as a value, nobody can tell which of its names are meant."""
        self.at, self.of = str(getattr(module, "__file__", "")), ""
        self.watches.view(vars(module))
        self._part(name, "all of it", Place(self.at))
        names = [
            key for key, value in sorted(vars(module).items()) if not key.startswith("__") and not isinstance(value, ModuleType)
        ]
        return ["module", [[key, self.constant(vars(module), key)] for key in names]]

    def _foreign(self, function: FunctionType) -> Node:
        """A function of others, which may hold the user's own: a decorator's wrapper."""
        registry = getattr(function, "registry", None)
        if registry is not None and hasattr(function, "dispatch"):
            self.watches.probe(lambda: [id(one) for one in registry.values()])
            return ["dispatch", [node(self, one) for one in sorted(registry.items(), key=lambda item: item[0].__qualname__)]]
        cells = [contents_of(cell) for cell in function.__closure__ or ()]
        inner = [node(self, cell) for cell in cells if isinstance(cell, _PLAIN_CELLS) or _holds_code(cell)]
        wrapped = getattr(function, "__wrapped__", None)
        return ["of others", function.__qualname__, inner, node(self, wrapped) if wrapped is not None else None]

    # state

    def is_state(self, value: Any, name: str) -> bool:
        """Whether the code changes that attribute of an object ("": its items); noted, if so."""
        if ("attribute", id(value), name) not in self._state:
            return False
        what = f"its attribute {name} is" if name else "its items are"
        self.notice(f"{what} changed by the code itself: state, whose content does not count", _STATE_MEND)
        return True

    def _state_of(self, name: str, value: Any) -> Node:
        """What the code changes while it runs: only the code in it counts."""
        self.of = ""
        self.notice(f"{name} is changed by the code itself: it is state, and its content does not count", _STATE_MEND)
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set | frozenset) else ()
        code = [one for one in list(inside) if isinstance(one, FunctionType | type) and owner_of(one) is OWN]
        return ["state", [self.reach(one) for one in code]]

    def _attributes(self, function: FunctionType) -> list[tuple[str, Any]]:
        kept = [(key, value) for key, value in sorted(vars(function).items()) if _is_kept(key)]
        return [(key, value) for key, value in kept if ("attribute", id(function), key) not in self._state]

    def constant(self, namespace: dict[str, Any], key: str) -> Node:
        known = self._constants.get((id(namespace), key))
        if known is None:
            self.watches.name(namespace, key)
            module = str(namespace.get("__name__", ""))
            shown = key if module == self.home else f"{module}.{key}"
            if ("name", id(namespace), key) in self._state:
                return self._state_of(f"the global {shown}", namespace[key])
            file = str(namespace.get("__file__", ""))
            known = self._constants[id(namespace), key] = self.named(f"constant {shown}", namespace[key], file)
        return known

    # values and parts

    def named(self, name: str, value: Any, file: str = "") -> Node:
        """The node of a value, which is a part by itself if it is no code."""
        if self._is_ignored(name):
            return ["ignored"]
        self._spent = 0
        self.of = name
        marks = self.watches.marks()
        try:
            made = node(self, placed(value, self._root))
        except Exception as error:  # noqa: BLE001  # whatever the classes of others raise when they are looked at
            self.watches.cut(marks)
            reason = str(error) if isinstance(error, Large) else f"looking at it raises {type(error).__name__}: {error}"
            self.notice(f"a {type(value).__qualname__}: {reason}", _LARGE_MEND)
            made = ["large", type(value).__qualname__]
        finally:
            self.of = ""
        if name and not isinstance(made, Ref) and not _is_code(value) and made[:1] != ["step"]:
            self._part(self._once(name), _text(value, made), Place(file))
        return made

    def _part(self, name: str, text: str, place: Place = Place()) -> None:  # noqa: B008  # frozen
        self.parts.append(Part(name, text, place))

    def _once(self, name: str) -> str:
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name} ({self._names[name]})"

    def _name(self, value: Any) -> str:
        if value is self._root:
            return "code"
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        module = value.__globals__.get("__name__", "") if isinstance(value, FunctionType) else value.__module__
        qualname = value.__code__.co_qualname if isinstance(value, FunctionType) else value.__qualname__
        shown = qualname if module == self.home else f"{module}.{qualname}"
        around, _, _ = qualname.rpartition(".")
        is_method = bool(around) and not around.endswith("<locals>")
        return f"{'class' if is_method or isinstance(value, type) else 'helper'} {shown}"


def _is_kept(key: str) -> bool:
    return not key.startswith("__") or key == "__wrapped__"


def _module_of(cls: type) -> Any:
    return sys.modules.get(cls.__module__)


def _is_code(value: Any) -> bool:
    return isinstance(value, FunctionType | type | ModuleType | BuiltinFunctionType)


def _holds_code(value: Any) -> bool:
    """Whether it is a function, or one of the things that hold functions."""
    if isinstance(value, list | tuple | set | frozenset):
        return any(isinstance(item, FunctionType | type) for item in value)
    if isinstance(value, dict):
        return any(isinstance(item, FunctionType | type) for item in value.values())
    return isinstance(value, _HOLDERS)


def _text(value: Any, made: Node) -> str:
    """The value as people read it, if it is short and plain; else a digest."""
    if isinstance(made, bytes):
        shown = json.dumps(show(made), ensure_ascii=False)
        text = shown if is_plain(value) else f"{type(value).__name__} {shown}"
        return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}... ({hash_id(made).hex()})"
    if made[:1] == ["supplied"]:
        return str(made[1])
    return f"{type(value).__qualname__} {hash_id(by_name(made)).hex()}"
