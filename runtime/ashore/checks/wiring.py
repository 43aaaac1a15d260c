"""The graph of a pipeline, wired with its defaults, and with stand-ins where it has none. No step runs."""

from __future__ import annotations

import datetime as dt
import pathlib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from ashore.checks.problems import NOTE, PROBLEM, Problem, line_in, of_error
from ashore.codec.encoding import UUID
from ashore.errors import AshoreError
from ashore.files import File
from ashore.graph import wire
from ashore.parameters import validated
from ashore.signatures import EMPTY, Parameter
from ashore.streams import Stream
from ashore.works import Pipeline

_LOOKED_AT: Final = File("stand-in", 1, 1, bytes(32))
"""A file that counts as looked at already."""
_SIMPLE: Final[dict[Any, Any]] = {
    **{int: 1, float: 0.5, str: "stand-in", bool: False, bytes: b"stand-in", complex: 0j, NoneType: None},
    **{File: _LOOKED_AT, pathlib.Path: pathlib.Path("stand-in"), Decimal: Decimal(1), UUID: UUID(int=0)},
    **{dt.date: dt.date(2026, 1, 1), dt.time: dt.time(), dt.timedelta: dt.timedelta(1)},
    dt.datetime: dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
}
_CONTAINERS: Final = (list, tuple, set, frozenset, dict)


def problems_of_wiring(work: Pipeline[Any, Any], where: str) -> Iterator[Problem]:
    """What wiring a `def` pipeline brings to light. The body of an `async def` one runs only in a run."""
    if work.is_async:
        return
    stood_in = [parameter.name for parameter in work.parameters if parameter.is_required]
    try:
        arguments = {parameter.name: _argument(parameter) for parameter in work.parameters}
    except _NoStandIn as error:
        what = f"{work.name} was not wired: nothing stands in for its parameter `{error}`"
        yield Problem(NOTE, where, what, "Give it a default to have the wiring checked", work.name)
        return
    try:
        wire(work, arguments)
    except AshoreError as error:
        yield of_error(error, where, work.name)
    except Exception as error:  # noqa: BLE001  # a body may raise anything
        yield _raised(work, error, where, stood_in)


def _raised(work: Pipeline[Any, Any], error: Exception, where: str, stood_in: list[str]) -> Problem:
    place = line_in(work.file, error.__traceback__) or where
    told = f"{type(error).__name__}: {error}"
    if not stood_in:
        return Problem(PROBLEM, place, f"the wiring of {work.name} raises {told}", "", work.name)
    names = ", ".join(f"`{name}`" for name in stood_in)
    what = f"{work.name} was not wired to its end: with stand-ins for {names} it raises {told}"
    return Problem(NOTE, place, what, "Give them defaults that it can be wired with", work.name)


class _NoStandIn(Exception):
    """There is no value that can stand in for this parameter."""


def _argument(parameter: Parameter) -> Any:
    if parameter.kind is parameter.kind.VAR_POSITIONAL:
        return ()
    if parameter.kind is parameter.kind.VAR_KEYWORD:
        return {}
    if parameter.default is not EMPTY:
        return _looked_at(validated(parameter, parameter.default))
    return stand_in(parameter.annotation, parameter.name)


def _looked_at(value: Any) -> Any:
    """Files count as looked at: which are there, is not what is checked."""
    if isinstance(value, File):
        return File(value.path, 1, 1, bytes(32))
    if type(value) in (list, tuple):
        return type(value)(map(_looked_at, value))
    return value


def stand_in(annotation: Any, name: str) -> Any:
    """Some value of this type. Raises `_NoStandIn`."""
    if annotation is None or annotation is Any:
        return 1
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (*_CONTAINERS, Stream) or annotation in _CONTAINERS:
        return _container(annotation, origin, parts, name)
    if origin is Literal:
        return parts[0]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next(iter(annotation))
    for part in parts:  # of a union
        try:
            return stand_in(part, name)
        except _NoStandIn:
            continue
    raise _NoStandIn(name)


def _container(annotation: Any, origin: Any, parts: tuple[Any, ...], name: str) -> Any:
    if origin is list or origin is Stream:
        return [stand_in(parts[0], name)]
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        return tuple(stand_in(part, name) for part in parts)
    kind: Any = origin or annotation
    return kind()


def strict(parameter: Parameter) -> Parameter:
    """The parameter as if its default were given by a caller: so that it is looked at."""
    return replace(parameter, default=EMPTY)
