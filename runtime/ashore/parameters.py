"""Arguments made right, or refused, before anything runs: plain ones as given in Python, texts as given on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any, Final, get_args, get_origin

import msgspec

from ashore.annotations import compatible as compatible
from ashore.annotations import conforms as conforms
from ashore.annotations import element_of as element_of
from ashore.annotations import name_of
from ashore.calls import shown
from ashore.codec.models import is_model
from ashore.elements import Each
from ashore.errors import WrongArgument
from ashore.files import File
from ashore.handles import Handle
from ashore.signatures import Parameter
from ashore.streams import Stream

_CONTAINERS: Final = (list, tuple, set, frozenset, dict)
_PLAIN: Final = (int, str, float, bool, type(None), bytes)


def validated(parameter: Parameter, value: Any, where: str = "") -> Any:
    """The argument as the parameter's type wants it (an int for a float becomes one, ...). Raises `WrongArgument`.

    Handles, and containers that hold some, are left alone: what they stand for is checked when it is there. So are types that
    nothing is known about. A numpy scalar becomes the Python number that it is. `where` is the call's line, if
    that is not the one that is running.
    """
    if type(value) is parameter.annotation or value is parameter.default:
        return value
    try:
        return _validated(parameter, parameter.annotation, value)
    except WrongArgument as error:
        if not where:
            raise
        raise WrongArgument(error.what, where=where, mend=error.mend) from error.__cause__


def _validated(parameter: Parameter, annotation: Any, value: Any) -> Any:
    if type(value).__module__ == "numpy":
        value = _number(value)
    if parameter.kind is parameter.kind.VAR_POSITIONAL:
        return tuple(_converted(parameter, annotation, item) for item in value)
    if parameter.kind is parameter.kind.VAR_KEYWORD:
        return {name: _converted(parameter, annotation, item) for name, item in value.items()}
    return _converted(parameter, annotation, value)


def parsed(parameter: Parameter, text: str, expand: Callable[[str], Sequence[str]] | None = None) -> Any:
    """The argument that `name=text` on the command line means. `expand` turns a pattern into paths, for `list[File]`.

    Numbers, dates, enums and the like are read as their type says, containers and dataclasses as JSON; without an annotation,
    JSON if it is some, else the text itself. Raises `WrongArgument`.
    """
    annotation = parameter.annotation
    try:
        if annotation is None or annotation is Any:
            return _json_or_text(text)
        if _takes_files(annotation):
            return [File(path) for path in _paths(text, expand)]
        if _takes_file(annotation):
            return File(text)
        return _read(annotation, text)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        what = f"{parameter.name}={text!r} is no {name_of(annotation)}"
        raise WrongArgument(f"{what} ({error})", where="", mend=f"Write {parameter.name}={_example(annotation)}") from error


def holds_handles(value: Any) -> bool:
    """Whether there is a handle or an `each(...)` in this argument, at any depth."""
    kind = type(value)
    if kind is dict:
        return any([holds_handles(item) for item in value.values() if type(item) not in _PLAIN])
    if kind in _CONTAINERS:
        return any([holds_handles(item) for item in value if type(item) not in _PLAIN])
    return isinstance(value, Handle | Each)


def _converted(parameter: Parameter, annotation: Any, value: Any) -> Any:
    if annotation is None or annotation is Any or holds_handles(value):
        return value
    problem = _not_a_file(parameter, annotation, value)
    if problem is not None:
        raise problem
    if get_origin(annotation) is Stream and not isinstance(value, Stream):
        annotation = list[get_args(annotation)[0]]  # type: ignore[misc]  # made at run time
    return _by_msgspec(parameter, annotation, value)


def _by_msgspec(parameter: Parameter, annotation: Any, value: Any) -> Any:
    detail = ""
    try:
        return msgspec.convert(value, annotation)
    except TypeError:  # a type that msgspec knows nothing of
        pass
    except msgspec.ValidationError as error:
        detail = str(error)
    number = _numbers(value)
    if number is not value:
        return _by_msgspec(parameter, annotation, number)
    if _passes(annotation, value, detail):
        return value
    raise _wrong(parameter, annotation, value, detail)


def _passes(annotation: Any, value: Any, detail: str) -> bool:
    """Whether what msgspec refuses is right all the same: a bool for an int, a type that it knows nothing of."""
    known = bool(detail)
    if known and (type(value) in _CONTAINERS or "Annotated[" in str(annotation)):
        return False
    return conforms(annotation, value)


def _wrong(parameter: Parameter, annotation: Any, value: Any, detail: str) -> WrongArgument:
    place = f" ({detail.partition(' - at ')[2]})" if " - at " in detail else ""
    what = f"{parameter.shown} takes {name_of(annotation)}, and got {shown(value)}, of type {name_of(type(value))}{place}"
    return WrongArgument(what, mend=f"Pass {name_of(annotation)}, or change the parameter's annotation")


def _not_a_file(parameter: Parameter, annotation: Any, value: Any) -> WrongArgument | None:
    """The error for paths where files are wanted."""
    if _takes_file(annotation) and isinstance(value, str | os.PathLike) and not conforms(annotation, value):
        mend = f"Write {parameter.name}=File({os.fspath(value)!r})"
    elif _takes_files(annotation) and _has_paths(value):
        mend = f"Write {parameter.name}=[File(path) for path in ...]"
    else:
        return None
    what = f"{parameter.shown} takes {name_of(annotation)}, and a path ({shown(value)}) is not a File"
    return WrongArgument(what, mend=mend)


def _has_paths(value: Any) -> bool:
    if isinstance(value, str | os.PathLike):
        return True
    return isinstance(value, list | tuple) and any(
        isinstance(item, str | os.PathLike) and not isinstance(item, File) for item in value
    )


def _takes_file(annotation: Any) -> bool:
    return annotation is File or (get_origin(annotation) is not list and File in get_args(annotation))


def _takes_files(annotation: Any) -> bool:
    return get_origin(annotation) in (list, Stream) and get_args(annotation)[:1] == (File,)


def _number(value: Any) -> Any:
    """A numpy scalar as the Python value that it is."""
    numpy = sys.modules.get("numpy")
    return value.item() if numpy is not None and isinstance(value, numpy.generic) else value


def _numbers(value: Any) -> Any:
    """The same with Python numbers in the place of numpy's; `value` itself if there are none."""
    kind = type(value)
    if kind is dict:
        changed: Any = {_numbers(key): _numbers(item) for key, item in value.items()}
        return changed if _differs(changed.values(), value.values()) or _differs(changed, value) else value
    if kind in _CONTAINERS:
        items = [_numbers(item) for item in value]
        return kind(items) if _differs(items, value) else value
    return _number(value) if kind.__module__ == "numpy" else value


def _differs(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    return any(one is not other for one, other in zip(ours, theirs, strict=True))


def _read(annotation: Any, text: str) -> Any:
    """A text as a value of a type: by the type's own rules for texts, else as JSON."""
    try:
        return msgspec.convert(_by_name(annotation, text), annotation, strict=False, dec_hook=_made)
    except msgspec.ValidationError as error:
        if text[:1] not in ("[", "{") and not get_args(annotation):
            raise
        try:
            return msgspec.json.decode(text, type=annotation, strict=False, dec_hook=_made)
        except msgspec.ValidationError:
            raise  # it is JSON, and says where it is wrong
        except msgspec.DecodeError:
            raise error from None


def _made(kind: type[Any], value: Any) -> Any:
    """A value of a type that msgspec does not know."""
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    if is_model(kind) and isinstance(value, dict):
        model: Any = kind
        return model.model_validate(value)
    return value


def _by_name(annotation: Any, text: str) -> Any:
    """An enum's member may be given by its name, too."""
    members = getattr(annotation, "__members__", {})
    return members[text].value if text in members else text


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _paths(text: str, expand: Callable[[str], Sequence[str]] | None) -> Sequence[str]:
    if text.startswith("["):
        return msgspec.json.decode(text, type=list[str])
    return expand(text) if expand is not None else [text]


def _example(annotation: Any) -> str:
    examples = {int: "3", float: "0.1", bool: "true"}
    return examples.get(annotation, f"a {name_of(annotation)}, as text or JSON")
