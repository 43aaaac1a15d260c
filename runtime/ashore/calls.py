"""A call of a step or pipeline: bound arguments, the scope that takes it, and the inert call outside every scope."""

from __future__ import annotations

import warnings
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from ashore.errors import GraphError, NotStarted, user_line
from ashore.handles import Handle, place_of
from ashore.options import Options
from ashore.refreshing import names_of

if TYPE_CHECKING:
    from ashore.steps import Work

_SHOWN = 40
"""Characters of an argument that messages show."""
_PLAIN: Final = (str, bytes, int, float, bool, type(None))


class Bound:
    """A call: the step or pipeline, its arguments by name in the parameters' order with defaults applied, its options."""

    __slots__ = ("arguments", "options", "where", "work")

    def __init__(self, work: Work[Any, Any], arguments: dict[str, Any], options: Options) -> None:
        self.work = work
        self.arguments = arguments
        self.options = options
        self.where = ""
        """ "file:line" of a call outside every pipeline; in a pipeline, the line that is running."""

    def __repr__(self) -> str:
        defaults = {parameter.name: parameter.default for parameter in self.work.definition.parameters}
        given = [f"{name}={shown(value)}" for name, value in self.arguments.items() if value is not defaults.get(name, self)]
        return f"{self.work.name}({', '.join(given)})"


class Scope(Protocol):
    """Where calls go: the wiring of a pipeline, a step's body (which refuses them)."""

    def called(self, bound: Bound) -> Any:
        """Take a call; returns its handle."""
        ...


current_scope: ContextVar[Scope | None] = ContextVar("ashore_scope", default=None)
"""The scope of the code that is running; None outside every pipeline and step."""


class Call(Handle[Any]):
    """A call outside every pipeline: inert until it is awaited or started, and missed if it never is."""

    __slots__ = ("claimed", "file", "line", "once", "refreshed")

    def __init__(self, bound: Bound, frame: FrameType) -> None:
        super().__init__(bound)
        self.claimed = False
        self.once: Any = None
        """The run that it has once it is awaited or started; the runtime's."""
        self.refreshed: tuple[str, ...] = ()
        """The names of the steps that its run does again."""
        self.file = frame.f_code.co_filename
        self.line = frame.f_lineno
        bound.where = f"{self.file}:{self.line}"
        for value in bound.arguments.values():
            if type(value) not in _PLAIN:
                _claim(value)

    def refresh(self, *steps: Any) -> Self:
        is_claimed, self.claimed = self.claimed, True  # if this raises, that is what there is to be told
        if self.once is not None:
            raise GraphError(f"{self!r} was started already", where=user_line(), mend="Make another call, and refresh that one")
        self.refreshed += tuple(name for name in names_of(steps) if name not in self.refreshed)
        self.claimed = is_claimed
        return self

    def claim(self) -> None:
        """It will be awaited, is started, or is an argument of another call."""
        self.claimed = True

    def __del__(self) -> None:
        if not self.claimed:
            how = "write `await ...` before it; in a script, ashore.run(...) around it"
            warnings.warn_explicit(f"{self!r} was not started: {how}", NotStarted, self.file, self.line)


def shown(value: Any) -> str:
    """An argument as messages show it: short, and without asking large things how they look."""
    if isinstance(value, Handle):
        return f"{value.bound.work.name}(...){place_of(value)}"  # not the call's own arguments: a chain of calls may be long
    if type(value) in _PLAIN or type(value).__module__.startswith("ashore"):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...{text[-1]}"
    if type(value) in (list, tuple, dict, set):
        return f"<{type(value).__name__} of {len(value)}>"
    return f"<{type(value).__name__}>"


def _claim(value: Any) -> None:
    """Handles that another call has as arguments are not forgotten ones."""
    if isinstance(value, Handle):
        value.claim()
    elif type(value) in (list, tuple, set):
        for item in value:
            if type(item) not in _PLAIN:
                _claim(item)
    elif type(value) is dict:
        _claim(list(value.values()))
    elif hasattr(type(value), "on_error"):  # an Each
        _claim(value.source)
