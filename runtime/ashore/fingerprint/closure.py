"""The walk from a step's function to everything of the user's own that it can reach.

Functions, classes and whole modules are pieces, numbered in the order in which the walk meets them, so that neither names of
modules nor recursion matter; values stand where they are read. The digest is over all pieces with their links; the parts are the
same by name, so that one can say what changed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, Final, TypeAlias

from ashore.codec import is_plain, show
from ashore.fingerprint.annotated import annotated_classes, class_around
from ashore.fingerprint.classes import attributes_of, shape_of
from ashore.fingerprint.declared import Cache, names_in
from ashore.fingerprint.facts import facts_of
from ashore.fingerprint.flags import flag_of
from ashore.fingerprint.nodes import UNSET, Large, Node, Part, Place, Ref, Unfollowed, Watches, by_index, by_name, contents_of
from ashore.fingerprint.owners import OWN, Installed, Owner, owner_of, owner_of_module, with_required
from ashore.fingerprint.places import placed
from ashore.fingerprint.reading import Read, change_of
from ashore.fingerprint.state import changed_by, changed_in
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

StateKey: TypeAlias = tuple[str, int, str]
"""What is changed: ("name", namespace, name), ("cell", cell, "") or ("attribute", object, name), objects by identity."""


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
        self._cache = cache
        self._ignored = cache.ignored
        self._unfollowed: dict[Unfollowed, None] = {}
        self._pieces: dict[int, tuple[Any, Ref]] = {}
        self._graph: list[Node] = []
        self._waiting: deque[tuple[Ref, Callable[[], Node]]] = deque()
        self._constants: dict[tuple[int, str], Node] = {}
        self._installed: dict[str, Installed] = {}
        self._names: dict[str, int] = {}
        self._spent = 0
        self._at = ""
        """What is being walked, as "file:line"; and the value in it."""
        self._of = ""
        self._root = function
        self._state = state
        self.changed: set[StateKey] = set()
        """Which names and attributes the code changes, as far as met: they are state, not constants."""
        self._walk(function)

    def _walk(self, function: FunctionType) -> None:
        self.reach(function)
        extra = self._cache.extra
        extras = extra if isinstance(extra, dict) else {"": extra} if extra is not None else {}
        links = [[str(name), self._named(f"extra {name}".strip(), value)] for name, value in extras.items()]
        while self._waiting:
            ref, fill = self._waiting.popleft()
            self._graph[ref.index] = fill()
        distributions = {one.name: one for first in self._installed.values() for one in with_required(first)}
        for name, one in sorted(distributions.items()):
            self._part(f"distribution {name}", f"{one.version} ({one.digest.hex()[:12]})")
        environment = [(name, os.environ.get(name)) for name in names_in(self._cache.env)]
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
        if name in self._ignored or name.partition(" ")[2] in self._ignored:
            return ["ignored"]
        ref = Ref(len(self._graph), str(getattr(value, "__qualname__", "module")))
        self._pieces[id(value)] = (value, ref)
        self._graph.append(None)
        fill = self._function if isinstance(value, FunctionType) else self._class if isinstance(value, type) else self._module
        self._waiting.append((ref, lambda: fill(value, self._once(name))))
        return ref

    def uses(self, owner: Owner) -> None:
        """Note the distribution."""
        if owner.distribution is not None:
            self._installed.setdefault(owner.distribution.name, owner.distribution)

    def notice(self, what: str, mend: str) -> None:
        """Note what cannot be followed, where the walk is."""
        self._unfollowed.setdefault(Unfollowed(f"{self._of}: {what}" if self._of else what, self._at, mend))

    def spend(self, amount: int) -> None:
        """Count what one value holds."""
        self._spent += amount
        if self._spent > _MOST:
            raise Large(f"it holds more than is looked at ({_MOST >> 20} MiB)")

    # pieces

    def _function(self, function: FunctionType, name: str) -> Node:
        facts = facts_of(function.__code__)
        place = Place(function.__code__.co_filename, facts.first, facts.last)
        self._at, self._of = f"{place.file}:{place.first}", ""
        self.watches.function(function)
        self.sources.append((name, function))
        at = len(self.parts)
        prefix = "" if function is self._root else f"{name.partition(' ')[2]}."
        links = [
            *self._defaults(function, prefix),
            *self._variables(function, prefix),
            *([read.dotted, *self._read(function, read)] for read in facts.reads),
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
            [f"={name}", self._named(f"default {prefix}{name}", value)]
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
                links.append([f"^{name}", self._named(f"variable {prefix}{name}", value)])
            if name == "__class__" and isinstance(value, type):
                links.append([f"^{name}", self.reach(value)])
        return links

    def _class(self, cls: type, name: str) -> Node:
        self._at, self._of = f"{getattr(_module_of(cls), '__file__', '')}", name
        self.watches.view(vars(cls).values())
        self.sources.append((name, cls))
        at = len(self.parts)
        shape = shape_of(self, cls)
        links, small = [], []
        for key, value in attributes_of(cls):
            if self.is_state(cls, key) or (isinstance(value, _CONTAINERS) and key in changed_in(cls)):
                continue
            if key.startswith("__") or _holds_code(value):
                small.append([key, self._named("", value)])
            else:
                links.append([key, self._named(f"{name}.{key}", value)])
        self.parts.insert(at, Part(name, hash_id(by_name([shape, small])).hex(), Place(self._at)))
        return ["class", shape, small, links]

    def _module(self, module: ModuleType, name: str) -> Node:
        """All of a module: where it is used as a value, nobody can tell which of its names are meant."""
        self._at, self._of = str(getattr(module, "__file__", "")), ""
        self.watches.view(vars(module))
        self._part(name, "all of it", Place(self._at))
        names = [
            key for key, value in sorted(vars(module).items()) if not key.startswith("__") and not isinstance(value, ModuleType)
        ]
        return ["module", [[key, self._global(vars(module), key)] for key in names]]

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

    # names

    def _read(self, function: FunctionType, read: Read) -> list[Node]:
        self._at, self._of = f"{function.__code__.co_filename}:{read.line}", ""
        found = self._start(function, read)
        if found is None:
            return []
        namespace, key, value = found
        return [self._follow(read, namespace, key, value, list(read.chain))]

    def _start(self, function: FunctionType, read: Read) -> tuple[dict[str, Any] | None, str, Any] | None:
        """The namespace and name that are read, and what is there now."""
        names = function.__globals__
        if read.kind == "global":
            if read.name == "__file__":
                self._flagged(None, read, None)
                return None
            self.watches.name(names, read.name)
            if read.name in names:
                return names, read.name, names[read.name]
            built_in = names.get("__builtins__", {})
            built_ins = built_in if isinstance(built_in, dict) else vars(built_in)
            return None, read.name, built_ins.get(read.name, _MISSING)
        if read.kind == "free":
            at = function.__code__.co_freevars.index(read.name)
            cell: CellType = (function.__closure__ or ())[at]
            value = contents_of(cell)
            if not isinstance(value, ModuleType):
                self._note_change(read, value, ("cell", id(cell), ""), read.chain)
                return None
            return None, read.name, value
        return self._imported(function, read)

    def _imported(self, function: FunctionType, read: Read) -> tuple[dict[str, Any] | None, str, Any] | None:
        package = str(function.__globals__.get("__package__") or function.__globals__.get("__name__", ""))
        try:
            name = importlib.util.resolve_name(read.name, package)
        except ImportError:
            return None
        owner = owner_of_module(name)
        self.uses(owner)
        if owner is not OWN:
            if owner.kind != "python":
                return None
        elif not read.is_used and not read.chain:
            return None
        try:
            module: Any = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the user's module does
            self.notice(f"import {name} fails: {type(error).__name__}: {error}", "Mend the import, or take it out")
            return None
        return None, name, importlib.import_module(name.partition(".")[0]) if read.is_top else module

    def _follow(self, read: Read, namespace: dict[str, Any] | None, key: str, value: Any, chain: list[str]) -> Node:
        """From what a name stands for, along its attributes, to what is meant."""
        foreign: ModuleType | None = None
        while chain and isinstance(value, ModuleType):
            owner = owner_of(value)
            self.uses(owner)
            if owner.kind in ("installed", "ashore"):
                return ["of others", ".".join(chain)]
            foreign = value if owner is not OWN else None
            namespace, key = (vars(value) if owner is OWN else None), chain.pop(0)
            value = self._attribute(value, key)
        if namespace is not None:
            self._note_change(read, value, ("name", id(namespace), key), chain)
        if self._flagged(value, read, foreign) or value is _MISSING:
            return ["missing"] if value is _MISSING else ["flagged"]
        if isinstance(value, ModuleType):
            return self._as_a_whole(read, value)
        if not read.is_used or foreign is not None:
            return ["of others"] if foreign is not None else ["imported"]
        return self._global(namespace, key) if namespace is not None else self._named("", value)

    def _note_change(self, read: Read, value: Any, key: StateKey, chain: Sequence[str]) -> None:
        """Note that the code changes what it reads, or a part of it."""
        if isinstance(value, ModuleType):
            if read.sets:
                self.changed.add(("name", id(vars(value)), read.sets))
            return
        change = change_of(chain, read.sets)
        if isinstance(value, FunctionType | type):
            changed = {change} if change is not None else set()
        elif type(value) is SimpleNamespace or owner_of(type(value)) is OWN:
            changed = changed_by(value, change, chain)
        else:
            changed = set()
            if change is not None:
                self.changed.add(key)
        self.changed.update(("attribute", id(value), name) for name in changed)

    def is_state(self, value: Any, name: str) -> bool:
        """Whether the code changes that attribute of an object ("": its items); noted, if so."""
        if ("attribute", id(value), name) not in self._state:
            return False
        what = f"its attribute {name} is" if name else "its items are"
        self.notice(f"{what} changed by the code itself: state, whose content does not count", _STATE_MEND)
        return True

    def _state_of(self, name: str, value: Any) -> Node:
        """What the code changes while it runs: only the code in it counts."""
        self._of = ""
        self.notice(f"{name} is changed by the code itself: it is state, and its content does not count", _STATE_MEND)
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set | frozenset) else ()
        code = [one for one in list(inside) if isinstance(one, FunctionType | type) and owner_of(one) is OWN]
        return ["state", [self.reach(one) for one in code]]

    def _attributes(self, function: FunctionType) -> list[tuple[str, Any]]:
        kept = [(key, value) for key, value in sorted(vars(function).items()) if _is_kept(key)]
        return [(key, value) for key, value in kept if ("attribute", id(function), key) not in self._state]

    def _attribute(self, module: ModuleType, key: str) -> Any:
        if owner_of(module) is not OWN:
            return getattr(module, key, _MISSING)
        names = vars(module)
        self.watches.name(names, key)
        if key in names:
            return names[key]
        if hasattr(module, "__path__"):
            try:
                return importlib.import_module(f"{module.__name__}.{key}")
            except ImportError:
                pass
        if "__getattr__" in names:
            self.notice(f"{module.__name__}.{key} is made by the module's __getattr__", "Import the thing itself by its name")
            return names["__getattr__"]
        return _MISSING

    def _as_a_whole(self, read: Read, module: ModuleType) -> Node:
        owner = owner_of(module)
        self.uses(owner)
        if owner is not OWN or not read.is_used:
            return ["module"]
        self.notice(
            f"the module {module.__name__} is used as a value: all of it counts", "Read its attributes by name where they are used"
        )
        return self.reach(module)

    def _flagged(self, value: Any, read: Read, module: ModuleType | None) -> bool:
        flag = flag_of(value, read, module)
        if value is _MISSING and flag is None:
            self.notice(f"the name {read.dotted} is not there yet", "Define it before the step is used")
            return False
        if flag is None:
            return False
        if not (read.constant in names_in(self._cache.env) or read.constant in names_in(self._cache.files)):
            self.notice(flag.what, flag.mend)
        return True

    def _global(self, namespace: dict[str, Any], key: str) -> Node:
        known = self._constants.get((id(namespace), key))
        if known is None:
            self.watches.name(namespace, key)
            module = str(namespace.get("__name__", ""))
            shown = key if module == self.home else f"{module}.{key}"
            if ("name", id(namespace), key) in self._state:
                return self._state_of(f"the global {shown}", namespace[key])
            known = self._constants[id(namespace), key] = self._named(f"constant {shown}", namespace[key])
        return known

    # values and parts

    def _named(self, name: str, value: Any) -> Node:
        """The node of a value, which is a part by itself if it is no code."""
        if name and (name in self._ignored or name.partition(" ")[2] in self._ignored):
            return ["ignored"]
        self._spent = 0
        self._of = name
        marks = self.watches.marks()
        try:
            made = node(self, placed(value, self._root))
        except Exception as error:  # noqa: BLE001  # whatever the classes of others raise when they are looked at
            self.watches.cut(marks)
            reason = str(error) if isinstance(error, Large) else f"looking at it raises {type(error).__name__}: {error}"
            self.notice(f"a {type(value).__qualname__}: {reason}", _LARGE_MEND)
            made = ["large", type(value).__qualname__]
        finally:
            self._of = ""
        if name and not isinstance(made, Ref) and not _is_code(value) and made[:1] != ["step"]:
            self._part(self._once(name), _text(value, made))
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
    return f"{type(value).__qualname__} {hash_id(by_name(made)).hex()}"
