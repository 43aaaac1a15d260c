"""Which materializer stores which type. Libraries are known by name: none is imported before a value or a blob of it is there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from ashore.materialize.base import MaterializeError, Materializer, Unloadable

_LIBRARIES: Final = {
    "numpy": "ashore.materialize.numpy",
    "pandas": "ashore.materialize.pandas",
    "pyarrow": "ashore.materialize.arrow",
    "sklearn": "ashore.materialize.sklearn",
    "polars": "ashore.materialize.polars",
}
"""The first part of a type's module -> our module, which has `MATERIALIZERS`, by type."""

_FORMATS: Final = {
    "npy": "numpy",
    "pandas-frame": "pandas",
    "pandas-series": "pandas",
    "pandas-index": "pandas",
    "arrow-table": "pyarrow",
    "arrow-batch": "pyarrow",
    "arrow-array": "pyarrow",
    "arrow-chunks": "pyarrow",
    "skops": "sklearn",
    "polars-frame": "polars",
    "polars-series": "polars",
    "polars-lazy": "polars",
}
"""A format's name without its version -> the library that it needs."""

_OWN: Final = frozenset({int, float, complex, str, bytes, bytearray, bool, type(None), list, tuple, dict, set, frozenset, object})

_registered: dict[type, Materializer] = {}
_by_format: dict[str, Materializer] = {}
_found: WeakKeyDictionary[type, Materializer | None] = WeakKeyDictionary()
_loaded: set[str] = set()


def register(cls: type, materializer: Materializer) -> None:
    """Store values of `cls` and its subclasses with `materializer`, from now on and in this process.

    Do it where the class is defined, so that whoever loads a value has it, too. Raises `MaterializeError` for a built-in type, and
    for a format that another materializer has already.
    """
    if cls in _OWN:
        raise MaterializeError(
            f"{cls.__name__} has its stored form already", mend="Register a class of your own that holds the value"
        )
    if materializer.format.partition("/")[0] in {"value", *_FORMATS}:
        raise MaterializeError(f"the format {materializer.format!r} is built in", mend="Give this one a name of its own")
    _add(cls, materializer)
    _found.clear()


def _add(cls: type, materializer: Materializer) -> None:
    form = materializer.format
    name, _, version = form.partition("/")
    if not name or not version:
        raise MaterializeError(f"{form!r} is no format of a materializer", mend='Write its name and version: "points/1"')
    known = _by_format.get(form)
    if known is not None and type(known) is not type(materializer):
        mend = "Give this one a name of its own"
        raise MaterializeError(f"the format {form!r} is that of {type(known).__name__} already", mend=mend)
    _registered[cls] = materializer
    _by_format[form] = materializer


def find(cls: type) -> Materializer | None:
    """The materializer of a type: its own, or that of the nearest base class that has one."""
    try:
        return _found[cls]
    except KeyError:
        for base in cls.__mro__:
            _load(base.__module__.partition(".")[0])
            if base in _registered:
                break
        found = _found[cls] = _registered.get(base)
        return found


def by_format(form: str) -> Materializer:
    """The materializer that wrote this format. Raises `Unloadable`."""
    materializer = _by_format.get(form)
    if materializer is None:
        _load(_FORMATS.get(form.partition("/")[0], ""))
        materializer = _by_format.get(form)
    if materializer is None:
        mend = "Import the module that registers it (ashore.register), or update ashore if the format is newer"
        raise Unloadable(f"no materializer here knows the format {form!r}", mend=mend)
    return materializer


def _load(library: str) -> None:
    home = _LIBRARIES.get(library)
    if home is None or library in _loaded:
        return
    try:
        table: Mapping[type, Materializer] = importlib.import_module(home).MATERIALIZERS
    except ImportError as error:
        mend = f"pip install {error.name or library}"
        raise MaterializeError(f"values of {library} need {error.name or library}, which is not installed", mend=mend) from error
    for cls, materializer in table.items():
        if cls not in _registered:  # a user's own stays
            _add(cls, materializer)
    _loaded.add(library)


def type_name(cls: type) -> str:
    """A type as people write it: "dict", "pandas.DataFrame", "flights.Model"."""
    module = cls.__module__
    root = module.partition(".")[0]
    if module == "builtins":
        return cls.__qualname__
    return f"{root if root in _LIBRARIES else module}.{cls.__qualname__}"
