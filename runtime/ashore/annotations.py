"""Types as annotations, compared with one another and with values. Conservative: what cannot be told is not refused."""

from __future__ import annotations

import collections.abc
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from ashore.streams import Stream

_LOOKED_AT = 64
"""How many elements of a container are compared with its annotation."""

_NUMBERS: Final[dict[Any, type]] = {int: numbers.Integral, float: numbers.Real, complex: numbers.Complex}
"""Whose values count as an int, a float, a complex: numpy's scalars, too."""

_WIDER: Final[dict[Any, tuple[type, ...]]] = {float: (int,), complex: (int, float), bytes: (bytearray, memoryview)}
"""What checkers let pass for a type though it is no subclass."""

Check = Callable[[Any], bool]


def compatible(produced: Any, wanted: Any) -> bool | None:
    """Whether a value of the one annotation may go where the other stands. None: that cannot be told (or one is missing)."""
    produced, wanted = _bare(produced), _bare(wanted)
    if wanted is object:
        return True
    if _is_open(produced) or _is_open(wanted):
        return None
    if produced == wanted:
        return True
    if _is_union(produced):
        return _all_or_none([compatible(part, wanted) for part in get_args(produced)])
    if _is_union(wanted):
        return _any([compatible(produced, part) for part in get_args(wanted)])
    if get_origin(produced) is Literal or get_origin(wanted) is Literal:
        return _literals(produced, wanted)
    return _classes(produced, wanted)


def conforms(annotation: Any, value: Any) -> bool:
    """Whether a value is what the annotation says, as far as that can be told; of large containers the first elements."""
    try:
        check = _check(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return True
    return check(value)


def element_of(annotation: Any) -> Any:
    """The type of the elements of `list[T]`, `Stream[T]` and the like; None if that is not known."""
    annotation = _bare(annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return parts[0] if len(parts) == 2 and parts[1] is Ellipsis else None
    return (
        parts[0] if isinstance(origin, type) and issubclass(origin, collections.abc.Iterable | Stream) and len(parts) == 1 else None
    )


def name_of(annotation: Any) -> str:
    """An annotation as people write it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return "None" if annotation is type(None) else annotation.__qualname__.rpartition("<locals>.")[2]
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _bare(annotation: Any) -> Any:
    """Without `Annotated`, `Final`, `NewType` and the like; None is the missing annotation, `NoneType` that of None."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _is_open(annotation: Any) -> bool:
    """Whether the annotation says nothing that could be compared."""
    if annotation is None or annotation is Any or annotation is object or isinstance(annotation, TypeVar | str):
        return True
    kind = get_origin(annotation) or annotation
    return not (isinstance(kind, type) or kind is Literal or _is_union(annotation)) or _is_structural(kind)


def _is_structural(kind: Any) -> bool:
    return (
        isinstance(kind, type) and (bool(getattr(kind, "_is_protocol", False)) or typing.is_typeddict(kind)) and not _is_abc(kind)
    )


def _is_abc(kind: type) -> bool:
    return kind.__module__ in ("collections.abc", "typing", "os", "contextlib")


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _all_or_none(answers: list[bool | None]) -> bool | None:
    if all(answers):
        return True
    return False if answers and all(answer is False for answer in answers) else None


def _any(answers: list[bool | None]) -> bool | None:
    if any(answers):
        return True
    return False if all(answer is False for answer in answers) else None


def _literals(produced: Any, wanted: Any) -> bool | None:
    if get_origin(produced) is Literal:
        values = get_args(produced)
        if get_origin(wanted) is Literal:
            return True if set(values) <= set(get_args(wanted)) else None if set(values) & set(get_args(wanted)) else False
        return _all_or_none([compatible(type(value), wanted) for value in values])
    kinds = {type(value) for value in get_args(wanted)}
    return None if any(compatible(kind, produced) is not False for kind in kinds) else False


def _classes(produced: Any, wanted: Any) -> bool | None:
    one, other = get_origin(produced) or produced, get_origin(wanted) or wanted
    if other is Stream and issubclass(one, collections.abc.Iterable):
        return compatible(element_of(produced), element_of(wanted))
    if issubclass(one, other) or one in _WIDER.get(other, ()):
        return _parts(produced, wanted)
    return None if issubclass(other, one) else False


def _parts(produced: Any, wanted: Any) -> bool | None:
    """The parameters of two generics, the first of which is a subclass of the other."""
    ours, theirs = get_args(produced), get_args(wanted)
    if not theirs:
        return True
    if not ours:
        return None
    if get_origin(produced) is tuple:
        ours, theirs = _tuple_parts(ours, wanted, theirs)
    if len(ours) != len(theirs):
        return False if get_origin(wanted) is tuple and Ellipsis not in (*ours, *theirs) else None
    answers = [compatible(a, b) for a, b in zip(ours, theirs, strict=True) if not (a is Ellipsis and b is Ellipsis)]
    return False if any(answer is False for answer in answers) else True if all(answers) else None


def _tuple_parts(ours: tuple[Any, ...], wanted: Any, theirs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Make `tuple[A, B]` comparable with `tuple[C, ...]` and with `Sequence[C]`."""
    if Ellipsis in ours:
        return (ours, theirs) if get_origin(wanted) is tuple else (ours[:1], theirs)
    if get_origin(wanted) is not tuple or Ellipsis in theirs:
        return ours, (theirs[0],) * len(ours)
    return ours, theirs


@lru_cache(maxsize=4096)
def _check(annotation: Any) -> Check:
    """How values are compared with an annotation: worked out once."""
    annotation = _bare(annotation)
    if _is_open(annotation):
        return _anything
    if _is_union(annotation):
        parts = [_check(part) for part in get_args(annotation)]
        return lambda value: any(part(value) for part in parts)
    if get_origin(annotation) is Literal:
        allowed = [(type(value), value) for value in get_args(annotation)]
        return lambda value: (type(value), value) in allowed
    kind = get_origin(annotation) or annotation
    accepted = (kind, *([_NUMBERS[kind]] if kind in _NUMBERS else []))
    inside = _check_inside(kind, get_args(annotation))
    if inside is None:
        return lambda value: isinstance(value, accepted)
    return lambda value: isinstance(value, accepted) and inside(value)


def _check_inside(kind: type, parts: tuple[Any, ...]) -> Check | None:
    """How the elements of a container are compared with its parameters; None if it has none that are known."""
    if not parts or not issubclass(kind, list | tuple | set | frozenset | dict):
        return None
    if kind is tuple and Ellipsis not in parts:
        checks = [_check(part) for part in parts] if parts != ((),) else []
        return lambda value: len(value) == len(checks) and all(check(item) for check, item in zip(checks, value, strict=True))
    if issubclass(kind, dict) and len(parts) == 2:
        return _check_items(_check(parts[0]), _check(parts[1]))
    if issubclass(kind, dict):
        return None
    check = _check(parts[0])
    return lambda value: all(map(check, islice(value, _LOOKED_AT)))


def _check_items(key: Check, item: Check) -> Callable[[Mapping[Any, Any]], bool]:
    return lambda value: all(key(name) and item(part) for name, part in islice(value.items(), _LOOKED_AT))


def _anything(value: object) -> bool:
    return True
