"""pydantic models (version 2): what an instance holds beside its fields, and how one is filled without any validator.

Knows them by the name of their base, and imports nothing. Which fields were given and which are defaults is part of a value, since
`model_dump(exclude_unset=True)` tells them apart: so `Config()` and `Config(lr=0.1)` are two values, even if 0.1 is the default.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ashore.codec.tags import Undecodable

PYDANTIC_BASE = ("pydantic.main", "BaseModel")


class Beside(NamedTuple):
    """What a model holds beside its fields."""

    given: list[str]
    """The fields that were given or set, in the order of the alphabet."""
    extra: dict[str, Any] | None
    """Of a class that allows more than its fields; else None."""
    private: dict[str, Any] | None
    """Values of private attributes; None if the class has none."""


def is_model(cls: type) -> bool:
    """Whether it is a class of pydantic models: of version 2, not the base itself."""
    return any((base.__module__, base.__qualname__) == PYDANTIC_BASE for base in cls.__mro__[1:]) and hasattr(cls, "model_fields")


def beside(model: Any) -> Beside:
    """What the model holds beside its fields."""
    return Beside(sorted(model.__pydantic_fields_set__), model.__pydantic_extra__, model.__pydantic_private__)


def default_of_field(field: Any, known: dict[str, Any]) -> tuple[Any, ...]:
    """The default of a field, after the values of those before it; nothing if it has none."""
    if field.is_required():
        return ()
    if getattr(field, "default_factory_takes_validated_data", False):
        return (field.default_factory(known),)
    return (field.get_default(call_default_factory=True),)


def fill_model(cls: Any, values: dict[str, Any], held: Beside) -> Any:
    """An instance with these values. Raises `Undecodable` if the class has no room for what else it held."""
    extra, private = held.extra, held.private
    if cls.model_config.get("extra") == "allow":
        extra = extra or {}
    elif extra:
        raise Undecodable(_no_room(cls, "extra fields", extra, 'allow them again: model_config = {"extra": "allow"}'))
    known = cls.__private_attributes__
    gone = {name: value for name, value in (private or {}).items() if name not in known}
    if gone:
        raise Undecodable(_no_room(cls, "private attributes", gone, "declare them again"))
    instance = object.__new__(cls)
    object.__setattr__(instance, "__dict__", values)
    object.__setattr__(instance, "__pydantic_fields_set__", set(held.given))
    for name, value in (("__pydantic_extra__", extra), ("__pydantic_private__", _private(known, private))):
        if value is not None or not cls.__pydantic_root_model__:  # whose class says None already
            object.__setattr__(instance, name, value)
    return instance


def _private(known: dict[str, Any], stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """The values of private attributes: those that came since the model was stored have their defaults."""
    if not known:
        return None
    found = dict(stored or {})
    for name, attribute in known.items():
        if name not in found:
            default = attribute.get_default()
            if type(default).__name__ != "PydanticUndefinedType":
                found[name] = default
    return found


def _no_room(cls: type, what: str, names: dict[str, Any], mend: str) -> str:
    return (
        f"the value was stored with the {what} {', '.join(names)} of {cls.__qualname__}, which has no room for them now: "
        f"{mend}, or run the step again"
    )
