"""A function's parameters, and the binding of a call's arguments to them: worked out once per function, not per call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ashore.errors import WrongArgument, did_you_mean, user_line

EMPTY: Final = inspect.Parameter.empty
"""No default."""

_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a step or a pipeline."""

    name: str
    kind: inspect._ParameterKind
    default: Any = EMPTY
    """`EMPTY` if it has none."""
    annotation: Any = None
    """The type, resolved; None if there is none, or none that can be read at run time. `-> None` is `NoneType`."""
    of: str = ""
    """The step or pipeline whose parameter it is, for messages."""

    @property
    def shown(self) -> str:
        """ "fit(lr=...)": as messages call it."""
        return f"{self.of}({self.name}=...)" if self.of else f"`{self.name}`"

    @property
    def is_required(self) -> bool:
        """Whether a call must give it."""
        return self.default is EMPTY and self.kind not in (_VAR_POSITIONAL, _VAR_KEYWORD)


class Binder:
    """Binds arguments to a function's parameters, in the parameters' order, with defaults applied."""

    __slots__ = (
        "_by_position",
        "_defaults",
        "_names",
        "_parameters",
        "_places",
        "_plain",
        "_required",
        "_signature",
        "_supplied",
        "_tails",
        "_template",
        "is_simple",
        "name",
    )

    def __init__(self, name: str, fn: Callable[..., Any], supplied: Collection[str] = ()) -> None:
        """`supplied` are parameters that no call gives: they are left out."""
        self.name = name
        self._supplied = supplied
        signature = inspect.signature(fn)
        if supplied:
            signature = signature.replace(parameters=[p for p in signature.parameters.values() if p.name not in supplied])
        self._signature = signature
        self._parameters = tuple(signature.parameters.values())
        kinds = {parameter.kind for parameter in self._parameters}
        self._names = tuple(signature.parameters)
        self._defaults = {p.name: p.default for p in self._parameters if p.default is not EMPTY}
        self._template = {p.name: p.default for p in self._parameters}
        self._places = {name: place for place, name in enumerate(self._names)}
        self._required = [p.name for p in self._parameters if p.default is EMPTY]
        self._by_position = sum(p.kind in (_POSITIONAL_ONLY, _POSITIONAL) for p in self._parameters)
        self._plain = not kinds & {_VAR_POSITIONAL, _VAR_KEYWORD}
        self.is_simple = self._plain and _POSITIONAL_ONLY not in kinds
        """Whether `fn(**arguments)` is right for bound arguments: no *args, **kwargs or positional-only ones."""
        self._tails = self._default_tails() if self._plain else {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters that a call gives, in order."""
        return self._names

    def _default_tails(self) -> dict[int, dict[str, Any]]:
        """For each number of positional arguments that is enough: the defaults that follow."""
        tails: dict[int, dict[str, Any]] = {}
        for count in range(self._by_position, -1, -1):
            rest = self._names[count:]
            if any(name not in self._defaults for name in rest):
                break
            tails[count] = {name: self._defaults[name] for name in rest}
        return tails

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name; raises `WrongArgument` naming the user's line."""
        count = len(args)
        if not kwargs:
            tail = self._tails.get(count)
            if tail is not None:
                if count == 1:
                    return {self._names[0]: args[0], **tail}
                return dict(zip(self._names, args, strict=False)) | tail
        elif self.is_simple and count <= self._by_position:
            named = self._bind_named(args, kwargs)
            if named is not None:
                return named
        return self._bind_any(args, kwargs)

    def _bind_named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        arguments = self._template.copy()
        places, count = self._places, len(args)
        for name, value in zip(self._names, args, strict=False):
            arguments[name] = value
        for name, value in kwargs.items():
            if places.get(name, -1) < count:
                return None
            arguments[name] = value
        for name in self._required:
            if arguments[name] is EMPTY:
                return None
        return arguments

    def _bind_any(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Any kind of parameters, slowly; and every error."""
        problem = self.problem(args, kwargs)
        if problem:
            raise WrongArgument(problem[0], where=user_line(), mend=problem[1])
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def problem(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str] | None:
        """What is wrong with the names and the number of these arguments, and the mend; None if nothing is."""
        kinds = {p.kind for p in self._parameters}
        takes = f"It takes {self.shown()}"
        keywords = [p.name for p in self._parameters if p.kind in (_POSITIONAL, _KEYWORD)]
        for name in kwargs:
            if name in self._supplied:
                return f"{self.name} was given `{name}`, which the runtime fills", "Leave it out; in a unit test use .fn"
            if name not in keywords and _VAR_KEYWORD not in kinds:
                return f"{self.name} has no parameter `{name}`", did_you_mean(name, keywords) or takes
        if len(args) > self._by_position and _VAR_POSITIONAL not in kinds:
            return f"{self.name} takes {_arguments(self._by_position)} by position, {len(args)} were given", takes
        given = [p for p in self._parameters if p.kind in (_POSITIONAL_ONLY, _POSITIONAL)][: len(args)]
        for parameter in given:
            if parameter.kind is _POSITIONAL and parameter.name in kwargs:
                return f"{self.name} was given `{parameter.name}` twice, by position and by name", takes
        missing = self._missing({p.name for p in given}, kwargs)
        return (f"{self.name}(...) lacks {', '.join(f'`{name}`' for name in missing)}", takes) if missing else None

    def _missing(self, given: set[str], kwargs: Mapping[str, Any]) -> list[str]:
        kinds = (_POSITIONAL_ONLY, _POSITIONAL, _KEYWORD)
        required = [p for p in self._parameters if p.default is EMPTY and p.kind in kinds and p.name not in given]
        return [p.name for p in required if p.kind is _POSITIONAL_ONLY or p.name not in kwargs]

    def shown(self) -> str:
        """The parameters, as people read them: "(train, *, lr=0.1)"."""
        bare = [p.replace(annotation=EMPTY) for p in self._parameters]
        return str(inspect.Signature(bare))

    def parameters(self, annotations: Mapping[str, Any]) -> tuple[Parameter, ...]:
        """The parameters, in order, with their resolved annotations."""
        return tuple(Parameter(p.name, p.kind, p.default, annotations.get(p.name), self.name) for p in self._parameters)


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"
