"""From a name that code reads to what it stands for: through modules and imports, and to what changes it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from types import CellType, FunctionType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from ashore.fingerprint.declared import names_in
from ashore.fingerprint.flags import flag_of
from ashore.fingerprint.nodes import Node, StateKey, contents_of
from ashore.fingerprint.owners import OWN, owner_of, owner_of_module
from ashore.fingerprint.reading import Read, change_of
from ashore.fingerprint.state import changed_by

if TYPE_CHECKING:
    from ashore.fingerprint.closure import Walk

_MISSING: Final = object()


class Follower:
    """Follows names for a walk."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def read(self, function: FunctionType, read: Read) -> list[Node]:
        self._walk.at, self._walk.of = f"{function.__code__.co_filename}:{read.line}", ""
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
            self._walk.watches.name(names, read.name)
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
                self.note_change(read, value, ("cell", id(cell), ""), read.chain)
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
        self._walk.uses(owner)
        if owner is not OWN:
            if owner.kind != "python":
                return None
        elif not read.is_used and not read.chain:
            return None
        try:
            module: Any = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the user's module does
            self._walk.notice(f"import {name} fails: {type(error).__name__}: {error}", "Mend the import, or take it out")
            return None
        return None, name, importlib.import_module(name.partition(".")[0]) if read.is_top else module

    def _follow(self, read: Read, namespace: dict[str, Any] | None, key: str, value: Any, chain: list[str]) -> Node:
        """From what a name stands for, along its attributes, to what is meant."""
        foreign: ModuleType | None = None
        while chain and isinstance(value, ModuleType):
            owner = owner_of(value)
            self._walk.uses(owner)
            if owner.kind in ("installed", "ashore"):
                return ["of others", ".".join(chain)]
            foreign = value if owner is not OWN else None
            namespace, key = (vars(value) if owner is OWN else None), chain.pop(0)
            value = self._attribute(value, key)
        if namespace is not None:
            self.note_change(read, value, ("name", id(namespace), key), chain)
        if self._flagged(value, read, foreign) or value is _MISSING:
            return ["missing"] if value is _MISSING else ["flagged"]
        if isinstance(value, ModuleType):
            return self._as_a_whole(read, value)
        if not read.is_used or foreign is not None:
            return ["of others"] if foreign is not None else ["imported"]
        return self._walk.constant(namespace, key) if namespace is not None else self._walk.named("", value)

    def note_change(self, read: Read, value: Any, key: StateKey, chain: Sequence[str]) -> None:
        """Note that the code changes what it reads, or a part of it."""
        if isinstance(value, ModuleType):
            if read.sets:
                self._walk.changed.add(("name", id(vars(value)), read.sets))
            return
        change = change_of(chain, read.sets)
        if isinstance(value, FunctionType | type):
            changed = {change} if change is not None else set()
        elif type(value) is SimpleNamespace or owner_of(type(value)) is OWN:
            changed = changed_by(value, change, chain)
        else:
            changed = set()
            if change is not None:
                self._walk.changed.add(key)
        self._walk.changed.update(("attribute", id(value), name) for name in changed)

    def _attribute(self, module: ModuleType, key: str) -> Any:
        if owner_of(module) is not OWN:
            return getattr(module, key, _MISSING)
        names = vars(module)
        self._walk.watches.name(names, key)
        if key in names:
            return names[key]
        if hasattr(module, "__path__"):
            try:
                return importlib.import_module(f"{module.__name__}.{key}")
            except ImportError:
                pass
        if "__getattr__" in names:
            self._walk.notice(f"{module.__name__}.{key} is made by the module's __getattr__", "Import the thing itself by its name")
            return names["__getattr__"]
        return _MISSING

    def _as_a_whole(self, read: Read, module: ModuleType) -> Node:
        owner = owner_of(module)
        self._walk.uses(owner)
        if owner is not OWN or not read.is_used:
            return ["module"]
        self._walk.notice(
            f"the module {module.__name__} is used as a value: all of it counts", "Read its attributes by name where they are used"
        )
        return self._walk.reach(module)

    def _flagged(self, value: Any, read: Read, module: ModuleType | None) -> bool:
        flag = flag_of(value, read, module)
        if value is _MISSING and flag is None:
            self._walk.notice(f"the name {read.dotted} is not there yet", "Define it before the step is used")
            return False
        if flag is None:
            return False
        if not (read.constant in names_in(self._walk.cache.env) or read.constant in names_in(self._walk.cache.files)):
            self._walk.notice(flag.what, flag.mend)
        return True
