# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false
"""What a decorated function is to whoever calls it: `Work`, the common part of steps and pipelines.

Its type is taken apart by the overloads of `__call__`, so that checkers report wrong arguments, handles included, and editors
complete them: by position a value, a handle or an `each(...)`; by name a value, or `fixed(handle)`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

from ashore.calls import Bound, Call, current_scope
from ashore.definitions import Definition
from ashore.elements import Each
from ashore.fingerprint import StepFingerprint
from ashore.handles import Handle, Handles
from ashore.options import Options, OptionsOf
from ashore.signatures import Parameter
from ashore.streams import Stream

if TYPE_CHECKING:
    from ashore.handles import Handle2, Handle3, Handles2, Handles3

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
F_co = TypeVar("F_co", bound=Callable[..., Any], covariant=True)
H_co = TypeVar("H_co", bound=Handle[Any], covariant=True)

_NOBODY: Final = object()


class Work(Generic[F_co, H_co]):
    """A step or a pipeline: `F` is the function's own type, `H` what a call of it gives."""

    def __init__(self, definition: Definition, options: Options, instance: object = _NOBODY, origin: Any = None) -> None:
        self.definition = definition
        self._origin = self if origin is None else origin
        self._instance = instance
        self._options = options
        self._view: OptionsOf[Self] | None = None
        self._bind = definition.bind
        self.name = self.__name__ = definition.name
        self.qualname = self.__qualname__ = definition.qualname
        self.module = self.__module__ = definition.module
        self.doc = self.__doc__ = definition.doc
        self.file = definition.file
        self.line = definition.line
        self.role = definition.role
        self.is_async = definition.is_async
        self.is_body = definition.is_async and definition.role == "pipeline"
        """Whether it is an `async def` pipeline: its body decides while the run goes."""
        self.is_wait = definition.role == "wait"
        """Whether it is no step of a user's, but a wait for time or for people."""
        self.is_step = not self.is_body and definition.role not in ("wait", "value")
        self.is_simple = definition.binder.is_simple
        """Whether `fn(**arguments)` is right for bound arguments: no *args, **kwargs or positional-only ones."""
        self._fn: Any = definition.fn if instance is _NOBODY else definition.fn.__get__(instance)
        self.__wrapped__ = self._fn
        self.is_stored = definition.options.store
        """Whether what it makes is stored; else it is handed on in memory."""
        self.supplied = definition.supplied
        """What the runtime gives beside the arguments: resources and secrets."""
        self._is_special = instance is not _NOBODY

    @property
    def fn(self) -> F_co:
        """The plain function, as written: for unit tests, and for use inside another step."""
        fn: F_co = self._fn
        return fn

    @property
    def options(self) -> OptionsOf[Self]:
        """The options: `fit.options.cache`. Called, the same with others for one call: `fit.options(key="a")(...)`."""
        view = self._view
        if view is None:
            options = self._options
            settings = {name: getattr(options, name) for name in Options.__struct_fields__}
            view = self._view = OptionsOf(**settings, of=self)
        return view

    @property
    def fingerprint(self) -> StepFingerprint:
        """Which code it is, with all that it reaches: `fit.fingerprint.explain()`."""
        return StepFingerprint(self.definition.fn, self.name, self.role, self.definition.options.declared)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in order."""
        return self.definition.parameters

    @cached_property
    def returns(self) -> Any:
        """The declared type of the result; None if there is no annotation."""
        return self.definition.returns

    @cached_property
    def outputs(self) -> int | tuple[str, ...] | None:
        """None: one value; a number: of a tuple's outputs; names: of an `Outputs` subclass."""
        return self.definition.outputs

    @property
    def arrival(self) -> tuple[Parameter, bool]:
        """The parameter that arrivals go to, and whether it takes all of them (`list[File]`). Raises `GraphError` if none does."""
        return self.definition.arrival

    def produced(self, output: int | None) -> Any:
        """The declared type of one output, or of the whole result."""
        return self.definition.produced(output)

    @overload  # 1. values; first, because editors show and complete from it
    def __call__(self: Work[Callable[P, Any], H_co], *args: P.args, **kwargs: P.kwargs) -> H_co: ...
    @overload  # 2. leading handles
    def __call__(
        self: Work[Callable[Concatenate[A, Q], Any], H_co], a: A | Handle[A], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> H_co: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, B, Q], Any], H_co],
        a: A | Handle[A],
        b: B | Handle[B],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> H_co: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, B, C, Q], Any], H_co],
        a: A | Handle[A],
        b: B | Handle[B],
        c: C | Handle[C],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> H_co: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, B, C, D, Q], Any], H_co],
        a: A | Handle[A],
        b: B | Handle[B],
        c: C | Handle[C],
        d: D | Handle[D],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> H_co: ...
    @overload  # 3. a list of handles into list[A]; anything many into Stream[A]
    def __call__(
        self: Work[Callable[Concatenate[list[A], Q], Any], H_co], a: Iterable[A | Handle[A]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> H_co: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[Stream[A], Q], Any], H_co],
        a: Iterable[A | Handle[A]] | AsyncIterable[A] | Handle[Iterable[A]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> H_co: ...
    @overload  # 4. fan-out; last, because checkers quote the last one
    def __call__(
        self: Work[Callable[Concatenate[A, Q], Any], Handle2[T, R]],
        a: A | Handle[A] | Each[A | Handle[A]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Handles2[T, R]: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, Q], Any], Handle3[T, R, D]],
        a: A | Handle[A] | Each[A | Handle[A]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Handles3[T, R, D]: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, B, Q], Any], Handle2[T, R]],
        a: A | Handle[A] | Each[A | Handle[A]],
        b: B | Handle[B] | Each[B | Handle[B]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Handles2[T, R]: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, B, C, Q], Any], Handle[T]],
        a: A | Handle[A] | Each[A | Handle[A]],
        b: B | Handle[B] | Each[B | Handle[B]],
        c: C | Handle[C] | Each[C | Handle[C]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Handles[T]: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, B, Q], Any], Handle[T]],
        a: A | Handle[A] | Each[A | Handle[A]],
        b: B | Handle[B] | Each[B | Handle[B]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Handles[T]: ...
    @overload
    def __call__(
        self: Work[Callable[Concatenate[A, Q], Any], Handle[T]],
        a: A | Handle[A] | Each[A | Handle[A]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Handles[T]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]  # mypy cannot match it with `self` taken apart
        """Inside a pipeline, a handle at once; outside, an inert call: await it, or start it."""
        if self._is_special:
            args = self._specially(args)
        bound = Bound(self._origin, self._bind(args, kwargs), self._options)
        scope = current_scope.get()
        if scope is None:
            return Call(bound, sys._getframe(1))
        return scope.called(bound)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bound:
        """The call with these arguments, without a scope. Raises `WrongArgument`."""
        if self._is_special:
            args = self._specially(args)
        return Bound(self._origin, self._bind(args, kwargs), self._options)

    @property
    def is_method(self) -> bool:
        """Whether its first argument is given by what it was looked up on."""
        return self._is_special

    def with_options(self, options: Options) -> Self:
        """The same work, to be called with these options."""
        return type(self)(self.definition, options, self._instance, self._origin)

    @overload
    def __get__(self, obj: None, owner: type[Any], /) -> Self: ...
    @overload
    def __get__(
        self: Work[Callable[Concatenate[A, Q], R], H_co], obj: A, owner: type[Any] | None = None, /
    ) -> Work[Callable[Q, R], H_co]: ...
    def __get__(self, obj: Any, owner: type[Any] | None = None, /) -> Any:
        if obj is None:
            return self
        return type(self)(self.definition, self._options, obj, self._origin)

    def __repr__(self) -> str:
        return f"<{self.role} {self.name}{self.definition.binder.shown()} at {self.file}:{self.line}>"

    def __reduce__(self) -> Any:
        return self.qualname  # by reference: whoever copies or sends it looks it up in its module

    def _specially(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a call of a method."""
        return (self._instance, *args)


class Step(Work[F_co, H_co]):
    """A function that makes artifacts: made by `@step` and the other roles."""


class Pipeline(Work[F_co, H_co]):
    """A function that wires steps: made by `@pipeline`."""
