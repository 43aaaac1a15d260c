"""Exceptions as the log keeps them, and as they are raised again."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from types import TracebackType
from typing import Any

import msgspec

from ashore.codec import decode, encode
from ashore.errors import AshoreError, ElementsFailed, InternalError, StepError, StepFailure, StepTimeout
from ashore.events import Failure
from ashore.graph import Node
from ashore.ids import RunId
from ashore_stores import keys

_HOUSE = ("ashore", "ashore_stores")
_FOLDERS = tuple(f"{PurePath(file).parents[depth]}{os.sep}" for file, depth in ((__file__, 1), (keys.__file__, 0)))
"""Where their files lie."""
_RECORDED = "_ashore_failure"
"""The attribute of an exception that was raised in another process: its record from there."""
_ELEMENTS_FAILED = f"{ElementsFailed.__module__}:{ElementsFailed.__qualname__}"
_MESSAGE_LIMIT = 20_000
"""Characters of a message or traceback that are kept."""


def trimmed(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's first frame on: ours say nothing to them."""
    while tb is not None and _is_ours(tb) and tb.tb_next is not None:
        tb = tb.tb_next
    return tb


def _is_ours(tb: TracebackType) -> bool:
    return str(tb.tb_frame.f_globals.get("__name__", "")).partition(".")[0] in _HOUSE


def annotate(error: Exception, node: Node, run: RunId, element: str = "") -> Exception:
    """Trim the traceback to the user's code and say which step, run and inputs."""
    inputs = ", ".join(_describe(argument.name, argument.template) for argument in node.arguments)
    note = f"in step {node.work.name}({inputs}){element} of run {run}"
    with suppress(Exception):  # a class may refuse attributes (a frozen dataclass does)
        error.__traceback__ = trimmed(error.__traceback__)
    if _is_finding(error) and not where_of(error):
        error.__traceback__ = None
        if not isinstance(error, StepTimeout):  # with what the step made of the end of its time
            error.__cause__ = None  # its sentence is all that there is to say
    with suppress(Exception):
        error.add_note(note)
    return error


def failure_of(error: BaseException) -> Failure:
    """The record of an exception. Whatever the exception's own methods do when they are asked, there is a record."""
    recorded = getattr(error, _RECORDED, None)
    if isinstance(recorded, Failure):
        return msgspec.structs.replace(recorded, notes=tuple(_notes_of(error)))
    kinds = [kind for kind in type(error).__mro__ if kind not in (object, BaseException)]
    return Failure(
        tuple(_printable(f"{kind.__module__}:{kind.__qualname__}") for kind in kinds),
        _asked(lambda: str(error), f"<{type(error).__name__} that cannot be printed>")[:_MESSAGE_LIMIT],
        _asked(lambda: _traceback_of(error), "")[-_MESSAGE_LIMIT:],
        tuple(_notes_of(error)),
        _printable(where_of(error)),
        _arguments_of(error),
    )


def as_exception(error: BaseException, who: str = "the step") -> Exception:
    """Whatever was raised, as something that may be raised to a waiter."""
    if isinstance(error, Exception):
        return error
    said = _asked(lambda: f"{type(error).__name__}({error})", type(error).__name__)
    failure = StepError(f"{who} raised {said}", mend="It ends by returning, or by raising an Exception")
    failure.__cause__ = error
    failure.__traceback__ = error.__traceback__
    return failure


def _traceback_of(error: BaseException) -> str:
    shown = traceback.TracebackException(type(error), error, trimmed(error.__traceback__))
    _leave_ours_out(shown, error)
    return "".join(shown.format())


def _leave_ours_out(shown: traceback.TracebackException, error: BaseException) -> None:
    """Drop our frames, and causes of which nothing is left: how we found out says nothing to users. Bugs of ours stay whole."""
    theirs = [frame for frame in shown.stack if not frame.filename.startswith(_FOLDERS)]
    if theirs or _is_finding(error):
        shown.stack = traceback.StackSummary.from_list(theirs)
    if shown.__cause__ is not None and error.__cause__ is not None:
        _leave_ours_out(shown.__cause__, error.__cause__)
        shown.__cause__ = shown.__cause__ if shown.__cause__.stack else None
    if shown.__context__ is not None and error.__context__ is not None:
        _leave_ours_out(shown.__context__, error.__context__)
        shown.__context__ = shown.__context__ if shown.__context__.stack else None
    if isinstance(error, BaseExceptionGroup):
        for one, of_group in zip(shown.exceptions or (), error.exceptions, strict=False):
            _leave_ours_out(one, of_group)


def _is_finding(error: BaseException) -> bool:
    """Whether it is an error that we raise on purpose, about something of theirs."""
    return type(error).__module__.partition(".")[0] in _HOUSE and not isinstance(error, InternalError)


def _notes_of(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [_asked(lambda note=note: str(note), "<a note>") for note in notes] if isinstance(notes, (list, tuple)) else []  # type: ignore[misc]


def _arguments_of(error: BaseException) -> bytes:
    try:
        return encode((error.step,) if isinstance(error, ElementsFailed) else error.args)
    except Exception:  # noqa: BLE001  # no stored form, cyclic, or with methods of their own that fail: the message stands for them
        return b""


def _asked(what: Callable[[], str], instead: str) -> str:
    """A text that an object of the user's gives of itself."""
    try:
        return _printable(what())
    except Exception:  # noqa: BLE001  # it is theirs, it may raise anything
        return instead


class Elsewhere(Exception):
    """Stands as the cause of an exception that was raised in another process, and shows where."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def raised_there(failure: Failure) -> Exception:
    """The exception of a step that was raised in another process: it knows its record, and shows its traceback."""
    error = exception_of(failure)
    with suppress(Exception):  # a class may refuse attributes: what is told of it then is what it tells itself
        setattr(error, _RECORDED, failure)
        error.__cause__ = Elsewhere(failure.traceback) if failure.traceback else None
    return error


def exception_of(failure: Failure, elements: Mapping[int, Failure] | None = None) -> Exception:
    """The exception again: of its own class if that is imported already, else a `StepFailure` that names it.

    `elements`: of a fan-out, what failed its elements. No module is imported and no constructor called but that of an exception
    class.
    """
    if elements and failure.classes[:1] == (_ELEMENTS_FAILED,):
        (step,) = decode(failure.arguments)
        return _noted(ElementsFailed(step, {place: exception_of(elements[place]) for place in sorted(elements)}), failure)
    kind = _imported(failure.classes[0]) if failure.classes else None
    error: Exception | None = None
    if kind is not None and failure.arguments:
        try:
            error = _made(kind, decode(failure.arguments))
        except BaseException:  # noqa: BLE001  # a class with a constructor of its own: the record stands in for it
            error = None
    if not isinstance(error, Exception):
        name = failure.classes[0].partition(":")[2] if failure.classes else "Exception"
        error = StepFailure(f"{name}: {failure.message}")
    return _noted(error, failure)


def error_of(node: Node) -> Exception:
    """What failed a node, from its record."""
    assert node.failure is not None
    return exception_of(node.failure, node.elements.failed if node.elements is not None else None)


def _noted(error: Exception, failure: Failure) -> Exception:
    for note in failure.notes:
        with suppress(Exception):
            error.add_note(note)
    return error


def _made(kind: type[Exception], arguments: Sequence[Any]) -> Exception:
    """An exception with these args. Ours have their whole sentence in them: asked again they would name a line of now."""
    return kind.__new__(kind, *arguments) if issubclass(kind, AshoreError) else kind(*arguments)


def _imported(name: str) -> type[Exception] | None:
    module, _, qualname = name.partition(":")
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def where_of(error: BaseException) -> str:
    """The innermost line that is not ours; of a bug of ours, ours."""
    raised = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in raised if not frame.filename.startswith(_FOLDERS)]
    frames = theirs if theirs or _is_finding(error) else raised
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _describe(name: str, value: object) -> str:
    text = str(value) if isinstance(value, PurePath) else _asked(lambda: repr(value), f"<{type(value).__name__}>")
    return f"{name}={text if len(text) <= 80 else text[:77] + '...'}"
