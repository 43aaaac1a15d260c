"""Steps that no import finds as they are (of a notebook, of a script, defined in a function), by value.

The one place where functions become bytes and bytes functions. They go over our own socket into our own child process, from
memory to memory: nothing of it is ever stored, and no value that a step takes or makes goes this way.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import sys
from functools import cache
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from ashore.definitions import Definition
from ashore.errors import StepError
from ashore.options import Options
from ashore.works import Step, Work

MAIN: Final = "__main__"
_PLAIN_LOADERS: Final = (SourceFileLoader, SourcelessFileLoader)
_STRUCT_OPTIONS: Final = (
    "frozen",
    "eq",
    "order",
    "array_like",
    "gc",
    "repr_omit_defaults",
    "omit_defaults",
    "forbid_unknown_fields",
)

_numbers: WeakKeyDictionary[type, int] = WeakKeyDictionary()
"""Structs that were sent from here, by the numbers that they are known by there."""
_structs: dict[int, type] = {}
"""Structs that arrived here."""


def is_importable(work: Work[Any, Any]) -> bool:
    """Whether another process gets the step, as it is, by importing its module."""
    module = sys.modules.get(work.module)
    spec = getattr(module, "__spec__", None)
    if work.module == MAIN or getattr(module, "__file__", None) is None or spec is None:
        return False
    if type(spec.loader) not in _PLAIN_LOADERS:  # one that changes code as it loads it: pytest's, a type checker's
        return False
    return _looked_up(module, work.qualname) is work.definition


def _looked_up(module: Any, qualname: str) -> Definition | None:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found.definition if isinstance(found, Work) else None


def dumped(work: Work[Any, Any]) -> tuple[bytes, bytes]:
    """A step by value: digest and bytes. Raises `StepError` for what cannot be sent."""
    try:
        data = _dumps((work, _classes_of_main()))
    except Exception as error:
        raise StepError(
            f"{work.name} is not in a module that a worker process can import, and cannot be sent there either: {error}",
            where=f"{work.file}:{work.line}",
            mend="Put it into a module of its own and import it, or let it use only what can be sent",
        ) from error
    return hashlib.sha256(data).digest(), data


def dumped_classes() -> tuple[bytes, bytes]:
    """The classes of the script or notebook alone."""
    data = _dumps((None, _classes_of_main()))
    return hashlib.sha256(data).digest(), data


def loaded(data: bytes) -> Step[Any, Any] | None:
    """The step, if there is one. The classes are found under `__main__` here, as they are there."""
    work, classes = _cloudpickle().loads(data)
    for name, made in classes.items():
        setattr(sys.modules[MAIN], name, made)
    found: Step[Any, Any] | None = work
    return found


def _classes_of_main() -> dict[str, type]:
    """Classes of the script or notebook: values of them are among arguments and results."""
    classes: dict[str, type] = {}
    for name, value in vars(sys.modules[MAIN]).items():
        if isinstance(value, type) and value.__module__ == MAIN and value.__qualname__ == name and _can_be_sent(value):
            classes[name] = value
    return classes


def _can_be_sent(value: type) -> bool:
    try:
        _dumps(value)
    except Exception:  # noqa: BLE001  # a class of the user's that is not needed there, or will be missed there by name
        return False
    return True


def _dumps(value: Any) -> bytes:
    sink = io.BytesIO()
    _pickler()(sink).dump(value)
    return sink.getvalue()


@cache
def _pickler() -> Any:
    class Pickler(_cloudpickle().Pickler):  # type: ignore[misc]  # it is imported here, when it is needed
        """Takes steps and pipelines apart that no import finds; others go by name."""

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Work) and not is_importable(value):
                definition = value.definition
                parts = (type(value), definition.fn, definition.role, definition.options, definition.is_pipeline)
                return _made, (*parts, {name: getattr(definition, name) for name in ("returns", "file", "line")})
            if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == MAIN:
                return _struct, _parts_of(value)
            return super().reducer_override(value)

    return Pickler


def _made(kind: Any, fn: Any, role: str, options: Options, is_pipeline: bool, known: dict[str, Any]) -> Work[Any, Any]:
    definition = Definition(fn, role, {}, is_pipeline=is_pipeline)
    definition.options = options
    definition.__dict__.update(known)  # its annotations may name what is not there
    made: Work[Any, Any] = kind(definition, options)
    return made


def _parts_of(struct: type[msgspec.Struct]) -> tuple[Any, ...]:
    """What a struct of the script or notebook is made of: its metaclass reads its fields when the class is made, and only then."""
    own = inspect.get_annotations(struct)
    fields = [(field.name, own[field.name], *_default(field)) for field in msgspec.structs.fields(struct) if field.name in own]
    skipped = {*own, "__dict__", "__weakref__", *dir(msgspec.Struct)} - {"__doc__"}
    members = {name: member for name, member in vars(struct).items() if name not in skipped and not name.startswith("__struct")}
    config = struct.__struct_config__
    options = {name: getattr(config, name) for name in _STRUCT_OPTIONS}
    number = _numbers.setdefault(struct, len(_numbers))
    return number, struct.__qualname__, fields, struct.__bases__, members, options


def _default(field: Any) -> tuple[str, Any]:
    """How `msgspec.field` is called for the default of this field."""
    if field.default_factory is not msgspec.NODEFAULT:
        return "default_factory", field.default_factory
    return ("", None) if field.default is msgspec.NODEFAULT else ("default", field.default)


def _struct(number: int, name: str, fields: Any, bases: Any, members: dict[str, Any], options: dict[str, Any]) -> type:
    if number not in _structs:
        fields = [(field, kind, msgspec.field(**({how: what} if how else {}))) for field, kind, how, what in fields]
        _structs[number] = msgspec.defstruct(name, fields, bases=bases, namespace=members, module=MAIN, **options)
    return _structs[number]


def _cloudpickle() -> Any:
    import cloudpickle  # noqa: PLC0415  # only for what cannot be imported

    return cloudpickle
