"""What a runtime gives to steps beside their arguments: resources that it keeps open, and secrets.

A parameter says so in the signature. It is not passed by the caller, and it is in no key, no identity and no event:

    @step
    def load(day: str, db: Resource[Pool] = resource(), token: Secret = secret("API_TOKEN")) -> Table: ...

`Resource[Pool]` is `Pool` to type checkers; the default is what tells them that a call need not pass it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn, TypeAlias, TypeVar, final, get_args, get_origin

from ashore.errors import GraphError, NotSupplied

T = TypeVar("T")

_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
"""Functions with such parameters are called by position, where what the runtime fills has no place."""


class _ResourceMark:
    def __repr__(self) -> str:
        return "Resource"


_RESOURCE: Final = _ResourceMark()

Resource: TypeAlias = Annotated[T, _RESOURCE]
"""The annotation of a parameter that the runtime fills: `db: Resource[Pool] = resource()`."""


@final
class Unfilled:
    """What `resource()` gives: the place that a runtime fills. Any use of it says so."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"resource({self.name!r})" if self.name else "resource()"

    def __getattr__(self, attribute: str) -> NoReturn:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise NotSupplied(f"{self!r} is filled by a runtime only", mend="In a unit test pass it: load.fn(day, db=pool)")


def resource(name: str = "") -> Any:
    """The default of a parameter that the runtime fills from its `resources=`, under the parameter's name or `name`."""
    return Unfilled(name)


@final
class Secret:
    """A secret of a step: `token: Secret = secret("API_TOKEN")`, read as `token.value`. Only its name is ever shown or recorded.

    For a unit test of a step's `.fn`: `Secret("API_TOKEN", "any text")`.
    """

    __slots__ = ("__value", "name")

    def __init__(self, name: str, value: str | None = None) -> None:
        self.name = name
        self.__value = value

    @property
    def value(self) -> str:
        """The secret itself. Raises `NotSupplied` where no runtime has filled it in."""
        if self.__value is None:
            raise NotSupplied(
                f"{self!r} has no value here: it gets one in a step that a runtime runs",
                mend=f'In a unit test pass it: Secret("{self.name}", "...")',
            )
        return self.__value

    def __repr__(self) -> str:
        return f"secret({self.name!r})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} is not to be stored or sent")


def secret(name: str) -> Secret:
    """The default of a secret parameter: the name of an environment variable, or a name in the runtime's `secrets=`."""
    return Secret(name)


@dataclass(frozen=True, slots=True)
class Supply:
    """A parameter that the runtime fills."""

    parameter: str
    name: str
    """Of the resource or of the secret."""
    is_secret: bool


def supplies_of(fn: Callable[..., Any], step: str, where: str, names: Mapping[str, Any]) -> tuple[Supply, ...]:
    """The parameters of `fn` that the runtime fills. `names` are those around it. Raises `GraphError` for one that cannot be."""
    parameters = inspect.signature(fn).parameters.values()
    found = [(parameter, supply) for parameter in parameters if (supply := _supply(fn, parameter, names)) is not None]
    for parameter, supply in found:
        problem = _problem(parameter, supply, by_name=all(other.kind not in _BY_PLACE for other in parameters))
        if problem is not None:
            raise GraphError(f"{step}({parameter.name}=...) {problem[0]}", where=where, mend=problem[1])
    return tuple(supply for _, supply in found)


def _supply(fn: Callable[..., Any], parameter: inspect.Parameter, names: Mapping[str, Any]) -> Supply | None:
    if isinstance(parameter.default, Secret):
        return Supply(parameter.name, parameter.default.name, is_secret=True)
    if isinstance(parameter.default, Unfilled):
        return Supply(parameter.name, parameter.default.name or parameter.name, is_secret=False)
    kind = _annotated_as(fn, parameter.annotation, names)
    if kind is Secret:
        return Supply(parameter.name, "", is_secret=True)
    return Supply(parameter.name, parameter.name, is_secret=False) if kind is _RESOURCE else None


def _annotated_as(fn: Callable[..., Any], annotation: Any, names: Mapping[str, Any]) -> Any:
    """`Secret`, the mark of `Resource[...]`, or None. Of a text only the head is read: what is in it may not be there yet."""
    if isinstance(annotation, str):
        first, *rest = annotation.partition("[")[0].strip().split(".")
        annotation = names.get(first, getattr(fn, "__globals__", {}).get(first))
        for name in rest:
            annotation = getattr(annotation, name, None)
    if annotation is Secret:
        return Secret
    return _RESOURCE if get_origin(annotation) is Annotated and _RESOURCE in get_args(annotation) else None


def _problem(parameter: inspect.Parameter, supply: Supply, *, by_name: bool) -> tuple[str, str] | None:
    if not supply.name:
        return "is a secret without a name", f'Write {parameter.name}: Secret = secret("NAME")'
    if parameter.default is not parameter.empty and not isinstance(parameter.default, Secret | Unfilled):
        return "is filled by the runtime, and has a default of its own", f"Write {parameter.name}: Resource[...] = resource()"
    if parameter.kind is parameter.KEYWORD_ONLY or (parameter.kind is parameter.POSITIONAL_OR_KEYWORD and by_name):
        return None
    return "is filled by the runtime, by name", "Put it behind a `*`, or behind the *args"
