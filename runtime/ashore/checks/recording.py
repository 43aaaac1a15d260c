"""What has to go on record: whether defaults can, and are of their parameters' types; whether what steps give can be stored."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

from ashore.checks.problems import NOTE, PROBLEM, Problem, of_error
from ashore.checks.wiring import strict
from ashore.codec import Unencodable, encode, has_form
from ashore.errors import WrongArgument
from ashore.materialize import MaterializeError, type_name
from ashore.materialize import find as find_materializer
from ashore.outputs import Outputs
from ashore.parameters import validated
from ashore.signatures import EMPTY
from ashore.works import Step, Work

_ANYTHING: Final = (object, type(Any))
_OPEN: Final = "typing", "typing_extensions", "collections.abc", "types"
"""Modules whose classes say what a value can do, not what it is."""


def problems_of_defaults(work: Work[Any, Any], where: str) -> Iterator[Problem]:
    """Defaults that cannot be recorded, or are not what their parameters say."""
    for parameter in work.parameters:
        if parameter.default is EMPTY or parameter.default is None:
            continue
        try:
            encode(parameter.default, name=f"{work.name}({parameter.name}=...)", numbers=True)
            validated(strict(parameter), parameter.default, where)
        except Unencodable as error:
            what = f"a default cannot be recorded: {error.name}{error.path} {error.what}"
            yield Problem(PROBLEM, where, what, "Take plain values or files; let a step make anything else", work.name)
        except WrongArgument as error:
            yield of_error(error, where, work.name)


def problems_of_types(work: Step[Any, Any], where: str) -> Iterator[Problem]:
    """Types of results that have no stored form. A note: a subclass may have one."""
    for cls in dict.fromkeys(_classes_in(work.returns)):
        try:
            is_known = _is_known(cls)
        except MaterializeError as error:
            yield of_error(error, where, work.name)
            continue
        if not is_known:
            what = f"{work.name} gives {type_name(cls)}, which has no stored form"
            mend = f"Make it a dataclass, or register a materializer: ashore.register({cls.__name__}, ...)"
            yield Problem(NOTE, where, what, mend, work.name)


def _classes_in(annotation: Any) -> Iterator[type]:
    """The classes that an annotation names, at any depth."""
    parts = get_args(annotation)
    if parts:
        origin = get_origin(annotation)
        if isinstance(origin, type) and origin.__module__ not in (*_OPEN, "builtins"):
            yield origin  # a generic class of somebody's: its arguments are not its fields
            return
        for part in parts:
            yield from _classes_in(part)
    elif isinstance(annotation, type) and annotation not in _ANYTHING:
        if issubclass(annotation, Outputs):
            for kind in inspect.get_annotations(annotation, eval_str=False).values():
                yield from _classes_in(kind)
        else:
            yield annotation


def _is_known(cls: type) -> bool:
    if inspect.isabstract(cls) or getattr(cls, "_is_protocol", False) or cls.__module__ in _OPEN:
        return True  # it says what a value can do, not what it is
    return has_form(cls) or find_materializer(cls) is not None
