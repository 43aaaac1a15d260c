"""What of a class counts: bases, methods, attributes; of what a decorator generated for it, only what that was made from."""

from __future__ import annotations

from dataclasses import MISSING
from enum import Enum
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from ashore.fingerprint.nodes import Node, Sink
from ashore.fingerprint.owners import PYTHON, owner_of
from ashore.fingerprint.values import node

_TEXT_ONLY: Final = frozenset({
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__type_params__"),
    *("__dataclass_fields__", "__dataclass_params__", "__abstractmethods__", "_abc_impl"),
    *("__parameters__", "__orig_bases__", "__protocol_attrs__", "__non_callable_proto_members__"),
    *("__struct_fields__", "__struct_defaults__", "__struct_config__", "__struct_encode_fields__", "__attrs_attrs__"),
    *("__attrs_own_setattr__", "__attrs_props__", "__signature__", "model_fields", "model_computed_fields"),
})  # fmt: skip
"""Attributes that are text, annotations, or derived from what is taken by itself."""
_OF_TUPLES: Final = frozenset(
    {"__new__", "_make", "_replace", "__replace__", "_asdict", "__repr__", "__getnewargs__", "_field_defaults"}
)
"""What a named tuple has of its own."""
_FLAGS: Final = ("init", "repr", "hash", "compare", "kw_only")
_ATTRS: Final = ("default", "validator", "converter", "init", "repr", "eq", "order", "hash", "kw_only")


def attributes_of(cls: type) -> list[tuple[str, Any]]:
    """The attributes that its body gave it, by name, in order of the alphabet."""
    return [(name, value) for name, value in sorted(vars(cls).items()) if not _is_derived(cls, name, value)]


def shape_of(sink: Sink, cls: type) -> list[Node]:
    """What it is beside its attributes: bases, metaclass, fields."""
    metaclass = type(cls)
    return [
        [node(sink, base) for base in cls.__bases__],
        None if metaclass is type else node(sink, metaclass),
        _fields(sink, cls),
    ]


def _is_derived(cls: type, name: str, value: Any) -> bool:
    if (
        name in _TEXT_ONLY
        or name.startswith(("__pydantic_", "_abc_"))
        or isinstance(value, MemberDescriptorType | GetSetDescriptorType)
    ):
        return True
    if issubclass(cls, Enum):
        return name in cls.__members__ or (name.startswith("_") and name.endswith("_") and not isinstance(value, FunctionType))
    if issubclass(cls, tuple) and "_fields" in vars(cls) and name in _OF_TUPLES | set(vars(cls)["_fields"]):
        return True
    return _is_generated(cls, value)


def _is_generated(cls: type, value: Any) -> bool:
    """Whether dataclasses or attrs wrote this method."""
    if not isinstance(value, FunctionType) or not ("__dataclass_fields__" in vars(cls) or "__attrs_attrs__" in vars(cls)):
        return isinstance(value, FunctionType) and issubclass(cls, Enum) and owner_of(value) is PYTHON
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    code = value.__code__
    return (
        code.co_qualname.startswith("__create_fn__.")
        or code.co_filename.startswith("<attrs generated")
        or owner_of(value) is PYTHON
    )


def _fields(sink: Sink, cls: type) -> Node:
    names = vars(cls)
    if "__dataclass_fields__" in names:
        fields = [_field(sink, field) for field in names["__dataclass_fields__"].values()]
        return ["dataclass", repr(names["__dataclass_params__"]), fields]
    if issubclass(cls, Enum):
        return ["enum", [[name, node(sink, member.value)] for name, member in cls.__members__.items()]]
    if "__struct_fields__" in names:
        config = names.get("__struct_config__")
        settings = [[name, str(getattr(config, name))] for name in dir(config) if not name.startswith("_")]
        return ["struct", list(names["__struct_fields__"]), node(sink, names.get("__struct_defaults__", ())), settings]
    if "__attrs_attrs__" in names:
        return [
            "attrs",
            [[one.name, *(node(sink, getattr(one, part, None)) for part in _ATTRS)] for one in names["__attrs_attrs__"]],
        ]
    if "__pydantic_fields__" in names:
        return [
            "pydantic",
            [[name, _type_name(field), node(sink, field.default)] for name, field in names["__pydantic_fields__"].items()],
        ]
    if "_field_defaults" in names and issubclass(cls, tuple):
        return ["tuple", node(sink, names["_field_defaults"])]
    return None


def _field(sink: Sink, field: Any) -> Node:
    flags = [str(getattr(field, flag, None)) for flag in _FLAGS]
    given = [None if part is MISSING else [node(sink, part)] for part in (field.default, field.default_factory)]
    return [field.name, *given, flags, node(sink, dict(field.metadata))]


def _type_name(field: Any) -> str:
    annotation = field.annotation
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
