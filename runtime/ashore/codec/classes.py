"""Classes of users in stored values: how they are named, what of them is stored, and how one is found and filled again.

A class is named by where it is defined, "module:Qualified.name", and found only among modules that are imported already. What is
run as a program is named by its file, so that `python flights.py` and an import of `flights` mean the same class; a class of a
notebook or a prompt is "__main__:Name", and found only where `__main__` has it. A class counts only if it has the fields that
the value was stored with; one that came since gets its default, or the value is refused. Dataclasses, attrs classes, pydantic
models and named tuples are filled without their own `__init__`, `__new__` and validators; structs and enum members are made by
msgspec's and enum's own means.
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

from ashore.codec.models import PYDANTIC_BASE, is_model
from ashore.codec.tags import Tag, Undecodable, Unencodable

_MAIN = "__main__"
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
HASH = "_attrs_cached_hash"
"""Where attrs keeps the hash of an instance, if the class asks it to: None until it is known."""
REMEMBERED = frozenset({HASH, "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"})
"""What is in the dictionaries of attrs instances and of pydantic's root models, and no field."""


class Shape(NamedTuple):
    """What is stored of the instances of a class."""

    tag: Tag
    fields: tuple[str, ...]


_KINDS = {Tag.ATTRS: "an attrs class", Tag.MODEL: "a pydantic model"}

_shapes: WeakKeyDictionary[type, Shape | None] = WeakKeyDictionary()


def shape_of(cls: type) -> Shape | None:
    """How instances of `cls` are stored; None if it is no enum, dataclass, struct, named tuple, attrs class, pydantic model."""
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
    return _simple(cls) if _is_simple(cls, object) else None


def _simple(cls: Any) -> Shape | None:
    if is_model(cls):
        return Shape(Tag.MODEL, tuple(cls.model_fields))
    for base in cls.__mro__:  # an attrs class may have a dataclass as its base, and the other way round
        if "__attrs_attrs__" in vars(base):
            return Shape(Tag.ATTRS, tuple(attribute.name for attribute in cls.__attrs_attrs__))
        if "__dataclass_fields__" in vars(base):
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
            "give it a name at the top of its module: class Named(Generic[int]): ..."
            if "[" in qualname
            else "it was defined again, or renamed, after this value was made: make the value anew",
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
    """The class of that name, of that kind, with at least those fields. Raises `Undecodable`."""
    module, _, qualname = name.partition(":")
    cls = _look_up(module, qualname)
    if cls is None:
        raise _absent(module, qualname)
    shape = shape_of(cls)
    if shape is None or shape.tag is not tag:
        kind = _KINDS.get(tag, f"a {tag.name.lower()}")
        raise Undecodable(f"the value needs {name} to be {kind}, but it is not one: nothing was made of it")
    if not set(fields) <= set(shape.fields):
        raise other_fields(name, fields, shape.fields)
    return cls


def other_fields(name: str, stored: Sequence[str], now: Sequence[str], mend: str = "") -> Undecodable:
    """That a value has not the fields that its class has now."""
    return Undecodable(
        f"the value was stored with the fields {', '.join(stored)} of {name}, which has {', '.join(now)} now: "
        f"{mend}run the step again, or load it with the code that stored it"
    )


def _absent(module: str, qualname: str) -> Undecodable:
    if module == _MAIN:
        return Undecodable(
            f"the value is of class {qualname}, defined in a notebook or at a prompt, and this program has no such class there: "
            "define it again here, or move it to a module that both import",
            module=module,
        )
    if all(place is None for place in _modules(module)):
        what = f"the value is of class {qualname} of module {module!r}, which is not imported here: `import {module}` first"
        return Undecodable(what, module=module)
    return Undecodable(f"the value is of class {qualname} of module {module!r}, which has no such class any more")


def values_of(value: Any, shape: Shape) -> list[Any]:
    """The values of the fields. Raises `Unencodable` if the instance holds more than its fields, or less."""
    names = set(shape.fields)
    for extra in getattr(value, "__dict__", {}).keys() - names - REMEMBERED:
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
        if "__attrs_attrs__" in base.__dict__ or (base.__module__, base.__qualname__) == PYDANTIC_BASE:
            continue  # beside their fields only what they remember, and what is stored by itself
        slots = base.__dict__.get("__slots__", ())
        found.update([slots] if isinstance(slots, str) else slots)
    return found - {"__dict__", "__weakref__"}


def _field(value: Any, cls: type, name: str) -> Any:
    if not is_stored(cls, name):
        raise Unencodable(f"has the field {name!r} behind a property or descriptor", "make it an ordinary field")
    try:
        return getattr(value, name)
    except AttributeError:
        raise Unencodable(f"has no value in its field {name!r}", "set every field") from None


def is_stored(cls: type, name: str) -> bool:
    """Whether setting the field stores a value and runs no code."""
    found = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
    return isinstance(found, MemberDescriptorType) or not hasattr(type(found), "__set__")


def members_of(value: Enum) -> list[str]:
    """The names that make up an enum member (one) or a flag (any number). Raises `Unencodable` for a flag's nameless bits."""
    if not isinstance(value, Flag):
        return [value.name]
    members = list(value)
    if reduce(or_, members, type(value)(0)) != value:
        raise Unencodable(f"is {value!r}, a flag with bits that have no name", "name every bit of the flag")
    return [cast("str", member.name) for member in members]
