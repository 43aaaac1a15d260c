"""The classes that a step's function belongs to, or that its arguments are of: their methods are called on what it is given."""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any, Final, get_args

_NAMES: Final = re.compile(r"[A-Za-z_][\w.]*")


def class_around(function: FunctionType) -> list[type]:
    """The class that a method stands in, if it can be found by its name."""
    names = function.__qualname__.split(".")[:-1]
    found = _by_names(function, names) if names else None
    return [found] if isinstance(found, type) and function.__name__ in vars(found) else []


def annotated_classes(function: FunctionType) -> list[type]:
    """The classes in the annotations of the parameters, in order; what cannot be found is left out."""
    found: dict[type, None] = {}
    for name, annotation in function.__annotations__.items():
        if name != "return":
            found.update(dict.fromkeys(_classes(function, annotation)))
    return list(found)


def _classes(function: FunctionType, annotation: Any) -> list[type]:
    if isinstance(annotation, str):
        values = [_by_names(function, text.split(".")) for text in _NAMES.findall(annotation)]
        return [value for value in values if isinstance(value, type)]
    inner = [cls for part in get_args(annotation) for cls in _classes(function, part)]
    return [annotation, *inner] if isinstance(annotation, type) else inner


def _by_names(function: FunctionType, names: list[str]) -> Any:
    value = function.__globals__.get(names[0])
    for name in names[1:]:
        value = vars(value).get(name) if hasattr(value, "__dict__") else None
    return value
