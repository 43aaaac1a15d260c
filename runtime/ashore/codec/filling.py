"""Stored fields back to instances of classes that were found: what a class says of new fields, and nothing of its own code else.

A field that the class got after a value was stored has its default; without one the value is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from enum import Enum, Flag
from functools import reduce
from operator import or_
from typing import Any, Final

from ashore.codec.classes import HASH, Shape, is_stored, other_fields, shape_of
from ashore.codec.models import Beside, default_of_field, fill_model
from ashore.codec.tags import Tag, Undecodable


def fill(cls: Any, fields: Sequence[str], values: Sequence[Any], beside: Sequence[Any] = ()) -> Any:
    """An instance of a class from `find_class`. Raises `Undecodable`."""
    shape = shape_of(cls)
    if shape is None or len(fields) != len(values):
        raise Undecodable(f"{len(fields)} fields of {cls.__qualname__}, but {len(values)} values")
    try:
        return _FILLS[shape.tag](cls, shape, dict(zip(fields, values, strict=True)), beside)
    except _NoDefault as error:
        raise other_fields(cls.__qualname__, fields, shape.fields, f"give {error.name!r} a default, ") from None


class _NoDefault(Exception):
    """A new field has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _named_tuple(cls: Any, shape: Shape, known: dict[str, Any], _beside: Sequence[Any]) -> Any:
    return tuple.__new__(cls, [known[name] if name in known else _found(cls._field_defaults, name) for name in shape.fields])


def _found(defaults: Mapping[str, Any], name: str) -> Any:
    if name not in defaults:
        raise _NoDefault(name)
    return defaults[name]


def _struct(cls: Any, shape: Shape, known: dict[str, Any], _beside: Sequence[Any]) -> Any:
    try:
        return cls(**known)
    except TypeError:
        new = [name for name in shape.fields if name not in known]
        if not new:
            raise
        raise _NoDefault(", ".join(new)) from None  # some of them: msgspec gives the others their defaults


def _dataclass(cls: Any, shape: Shape, known: dict[str, Any], _beside: Sequence[Any]) -> Any:
    for name in shape.fields:
        if name not in known:
            field = cls.__dataclass_fields__[name]
            if field.default is MISSING and field.default_factory is MISSING:
                raise _NoDefault(name)
            known[name] = field.default if field.default_factory is MISSING else field.default_factory()
    return _with_fields(cls, object.__new__(cls), known)


def _attrs(cls: Any, shape: Shape, known: dict[str, Any], _beside: Sequence[Any]) -> Any:
    instance = _with_fields(cls, object.__new__(cls), known)
    attributes = {attribute.name: attribute for attribute in cls.__attrs_attrs__}
    for name in shape.fields:
        if name not in known:
            _with_fields(cls, instance, {name: _attrs_default(attributes[name], instance)})
    if HASH in getattr(getattr(cls.__hash__, "__code__", None), "co_names", ()):
        object.__setattr__(instance, HASH, None)
    return instance


def _attrs_default(attribute: Any, instance: Any) -> Any:
    """What the class's own `__init__` would put there."""
    default = attribute.default
    if hasattr(default, "factory"):
        default = default.factory(instance) if default.takes_self else default.factory()
    elif type(default).__module__.partition(".")[0] == "attr":  # attrs.NOTHING
        raise _NoDefault(attribute.name)
    converter = attribute.converter
    if hasattr(converter, "takes_self"):
        further = ([instance] if converter.takes_self else []) + ([attribute] if converter.takes_field else [])
        return converter.converter(default, *further)
    return default if converter is None else converter(default)


def _with_fields(cls: Any, instance: Any, values: Mapping[str, Any]) -> Any:
    for name, value in values.items():
        if not is_stored(cls, name):
            raise Undecodable(f"the field {name!r} of {cls.__qualname__} is a property or descriptor now: nothing was made of it")
        object.__setattr__(instance, name, value)
    return instance


def _model(cls: Any, shape: Shape, known: dict[str, Any], beside: Sequence[Any]) -> Any:
    for name in shape.fields:
        if name not in known:
            found = default_of_field(cls.model_fields[name], known)
            if not found:
                raise _NoDefault(name)
            (known[name],) = found
    return fill_model(cls, {name: known[name] for name in shape.fields}, Beside(*beside))


_FILLS: Final[Mapping[Tag, Callable[[Any, Shape, dict[str, Any], Sequence[Any]], Any]]] = {
    Tag.NAMEDTUPLE: _named_tuple,
    Tag.STRUCT: _struct,
    Tag.DATACLASS: _dataclass,
    Tag.ATTRS: _attrs,
    Tag.MODEL: _model,
}


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
