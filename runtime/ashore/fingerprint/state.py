"""What objects change of themselves while they are used: that is state, and no constant."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from ashore.fingerprint.facts import facts_of


def changed_by(value: Any, change: str | None, chain: Sequence[str]) -> set[str]:
    """The attributes of an object that change when that is done with it; "" stands for its items, as a container."""
    changed = set()
    if change is not None and not (change == "" and _method(type(value), chain[0] if chain else "__setitem__") is not None):
        changed.add(change)
    if chain or change == "":
        changed |= _changed_through(type(value), chain[0] if chain else "__setitem__")
    return changed


def changed_in(cls: type) -> set[str]:
    """The attributes that any method of a class changes in its object."""
    functions = [value for value in vars(cls).values() if isinstance(value, FunctionType)]
    return {name for function in functions for name in facts_of(function.__code__).changes}


def _changed_through(cls: type, name: str) -> set[str]:
    """What a method changes, by itself and by the methods of its object that it reads."""
    changed: set[str] = set()
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        method = None if name in seen else _method(cls, name)
        seen.add(name)
        if method is not None:
            facts = facts_of(method.__code__)
            changed |= facts.changes
            waiting += facts.asks
        if isinstance(getattr(cls, name, None), functools.cached_property):
            changed.add(name)
    return changed


def _method(cls: type, name: str) -> FunctionType | None:
    value = getattr(cls, name, None)
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.cached_property):
        value = value.func
    value = getattr(value, "__wrapped__", value)
    return value if isinstance(value, FunctionType) else None
