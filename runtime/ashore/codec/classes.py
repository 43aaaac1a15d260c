"""Classes of users in stored values: how they are named, what of them is stored, and how one is found and filled again.

A class is named by where it is defined, "module:Qualified.name", and found only among modules that are imported already. What is
run as a program is named by its file, so that `python flights.py` and an import of `flights` mean the same class; a class of a
notebook or a prompt is "__main__:Name", and found only where `__main__` has it. A class counts only if it has the fields that
the value was stored with. Dataclasses and named tuples are filled without their own `__init__` and `__new__`; structs and enum
members are made by msgspec's and enum's own means.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from enum import Enum, Flag
from functools import cached_property, reduce
from operator import or_
from pathlib import PurePath
from types import MemberDescriptorType, ModuleType
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import msgspec

from ashore.codec.tags import Tag, Undecodable, Unencodable

_MAIN = "__main__"
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement


class Shape(NamedTuple):
    """What is stored of the instances of a class."""

    tag: Tag
    fields: tuple[str, ...]


_shapes: WeakKeyDictionary[type, Shape | None] = WeakKeyDictionary()


def shape_of(cls: type) -> Shape | None:
    """How instances of `cls` are stored; None if it is none of enum, dataclass, struct, named tuple."""
    try:
        return _shapes[cls]
    except KeyError:
        shape = _shapes[cls] = _find_shape(cls)
        return shape


def _find_shape(cls: type) -> Shape | None:
    if issubclass(cls, Enum):
        return Shape(Tag.ENUM, ())
    if issubclass(cls, msgspec.Struct):
        return Shape(Tag.STRUCT, cls.__struct_fields__)
    if issubclass(cls, tuple):
        return _named_tuple(cls)
    if dataclasses.is_dataclass(cls) and _is_simple(cls, object):
        return Shape(Tag.DATACLASS, tuple(field.name for field in dataclasses.fields(cls)))
    return None


def _named_tuple(cls: type) -> Shape | None:
    fields = getattr(cls, "_fields", None)
    if isinstance(fields, tuple) and all(type(name) is str for name in fields) and _is_simple(cls, tuple):
        return Shape(Tag.NAMEDTUPLE, fields)
    return None


def _is_simple(cls: type, base: type) -> bool:
    """Whether all that an instance holds is in `base`'s part, its fields and its dictionary, and it dies quietly."""
    return not hasattr(cls, "__del__") and all(c in (object, base) or c.__flags__ & _HEAP_TYPE for c in cls.__mro__)


def main_name() -> str:
    """What the program that runs is called as a module: "flights" for flights.py, "__main__" in notebooks and at prompts."""
    main = sys.modules.get(_MAIN)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return cast("str", spec.name.removesuffix(f".{_MAIN}"))
    file = getattr(main, "__file__", None)
    return PurePath(file).stem if file else _MAIN


def name_of(cls: type) -> str:
    """The name under which `cls` is found again. Raises `Unencodable` if it is not."""
    module = main_name() if cls.__module__ == _MAIN else cls.__module__
    qualname = cls.__qualname__
    if "<locals>" in qualname:
        raise Unencodable(f"is of class {qualname}, which is local to a function", "define the class at the top of its module")
    name = f"{module}:{qualname}"
    if _look_up(module, qualname) is not cls:
        raise Unencodable(
            f"is of a class {name} that is not what is found under that name now",
            "it was defined again, or renamed, after this value was made: make the value anew",
        )
    return name


def _modules(module: str) -> list[ModuleType | None]:
    main = [sys.modules.get(_MAIN)] if module == main_name() else []
    return [*main, sys.modules.get(module)]


def _look_up(module: str, qualname: str) -> type | None:
    """The class, without importing and without running any code of it: neither `__getattr__` nor descriptors."""
    for place in _modules(module):
        found: Any = place
        for part in qualname.split("."):
            found = vars(found).get(part) if isinstance(found, (ModuleType, type)) else None
        if isinstance(found, type):
            return found
    return None


def find_class(name: str, tag: Tag, fields: Sequence[str]) -> type:
    """The class of that name, of that kind, with those fields. Raises `Undecodable`."""
    module, _, qualname = name.partition(":")
    cls = _look_up(module, qualname)
    if cls is None:
        raise Undecodable(*_absent(module, qualname))
    shape = shape_of(cls)
    if shape is None or shape.tag is not tag:
        raise Undecodable(f"the value needs {name} to be a {tag.name.lower()}, but it is not one: nothing was made of it")
    if list(shape.fields) != list(fields):
        raise Undecodable(
            f"the value was stored with the fields {', '.join(fields)} of {name}, which has {', '.join(shape.fields)} now: "
            "run the step again, or load it with the code that stored it"
        )
    return cls


def _absent(module: str, qualname: str) -> tuple[str]:
    if module == _MAIN:
        return (
            f"the value is of class {qualname}, defined in a notebook or at a prompt, and this program has no such class there: "
            "define it again here, or move it to a module that both import",
        )
    if all(place is None for place in _modules(module)):
        return (f"the value is of class {qualname} of module {module!r}, which is not imported here: `import {module}` first",)
    return (f"the value is of class {qualname} of module {module!r}, which has no such class any more",)


def values_of(value: Any, shape: Shape) -> list[Any]:
    """The values of the fields. Raises `Unencodable` if the instance holds more than its fields, or less."""
    names = set(shape.fields)
    for extra in getattr(value, "__dict__", {}).keys() - names:
        if not isinstance(getattr(type(value), extra, None), cached_property):
            raise Unencodable(f"has the attribute {extra!r} beside its fields", "make it a field, or do not set it")
    if shape.tag is Tag.NAMEDTUPLE:
        return list(value)
    cls = type(value)
    for slot in _slots(cls) - names:
        if hasattr(value, slot):
            raise Unencodable(f"has the slot {slot!r} beside its fields", "make it a field")
    return [_field(value, cls, name) for name in shape.fields]


def _slots(cls: type) -> set[str]:
    found: set[str] = set()
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found.update([slots] if isinstance(slots, str) else slots)
    return found - {"__dict__", "__weakref__"}


def _field(value: Any, cls: type, name: str) -> Any:
    if not _is_stored(cls, name):
        raise Unencodable(f"has the field {name!r} behind a property or descriptor", "make it an ordinary field")
    try:
        return getattr(value, name)
    except AttributeError:
        raise Unencodable(f"has no value in its field {name!r}", "set every field") from None


def _is_stored(cls: type, name: str) -> bool:
    """Whether setting the field stores a value and runs no code."""
    found = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
    return isinstance(found, MemberDescriptorType) or not hasattr(type(found), "__set__")


def fill(cls: Any, tag: Tag, fields: Sequence[str], values: Sequence[Any]) -> Any:
    """An instance of a class from `find_class`."""
    if len(fields) != len(values):
        raise Undecodable(f"{len(fields)} fields of {cls.__qualname__}, but {len(values)} values")
    if tag is Tag.NAMEDTUPLE:
        return tuple.__new__(cls, values)
    if tag is Tag.STRUCT:
        return cls(**dict(zip(fields, values, strict=True)))
    instance = object.__new__(cls)
    for name, value in zip(fields, values, strict=True):
        if not _is_stored(cls, name):
            raise Undecodable(f"the field {name!r} of {cls.__qualname__} is a property or descriptor now: nothing was made of it")
        object.__setattr__(instance, name, value)
    return instance


def members_of(value: Enum) -> list[str]:
    """The names that make up an enum member (one) or a flag (any number). Raises `Unencodable` for a flag's nameless bits."""
    if not isinstance(value, Flag):
        return [value.name]
    members = list(value)
    if reduce(or_, members, type(value)(0)) != value:
        raise Unencodable(f"is {value!r}, a flag with bits that have no name", "name every bit of the flag")
    return [cast("str", member.name) for member in members]


def member(cls: Any, names: Sequence[str], stored: Sequence[object]) -> Enum:
    """The member of an enum from `find_class`, if it still has the value that it was stored with."""
    known = cls.__members__
    unknown = [name for name in names if name not in known]
    if unknown or (len(names) != 1 and not issubclass(cls, Flag)):
        raise Undecodable(f"the enum {cls.__qualname__} has no member {unknown or names} any more")
    found: Enum = reduce(or_, (known[name] for name in names), cls(0)) if issubclass(cls, Flag) else known[names[0]]
    if stored and (type(found.value) is not type(stored[0]) or found.value != stored[0]):
        raise Undecodable(f"{cls.__qualname__}.{found.name} was {stored[0]!r} when it was stored, and is {found.value!r} now")
    return found
