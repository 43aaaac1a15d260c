# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false
"""Fan-out: `each(...)` calls a step once for each element; `fixed(...)` passes a handle whole, as one value."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, overload

from ashore.errors import GraphError, NotInThisVersion, user_line
from ashore.handles import Handle
from ashore.misuse import refusal

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
K = TypeVar("K")
T_co = TypeVar("T_co", covariant=True)

OnError = Literal["stop", "skip"]


class Group:
    """Which `each` values belong together, and how: side by side ("zip"), or in all combinations ("product")."""

    __slots__ = ("how",)

    def __init__(self, how: Literal["zip", "product"]) -> None:
        self.how = how

    def __repr__(self) -> str:
        return f"<{self.how} {id(self):x}>"


class Each(Generic[T_co]):
    """An argument that stands for one call per element. Made by `each(...)`, passed by position."""

    __slots__ = ("group", "on_error", "source")

    def __init__(self, source: Handle[Any] | Sequence[Any], group: Group, on_error: OnError) -> None:
        self.source = source
        """A handle of a list, or a list, tuple or range."""
        self.group = group
        self.on_error = on_error

    def __repr__(self) -> str:
        source = repr(self.source) if isinstance(self.source, Handle | range) else f"<{len(self.source)}>"
        return f"each({source})"

    if not TYPE_CHECKING:  # checkers shall not take it for an iterable

        def __iter__(self):
            raise refusal(repr(self), "iterated over (a step takes it by position)")


class _EachOf:
    """`each`: see `__call__`."""

    @overload
    def __call__(self, a: Handle[Iterable[A]], /, *, on_error: OnError = "stop") -> Each[A]: ...
    @overload
    def __call__(self, a: Iterable[Handle[A]], /, *, on_error: OnError = "stop") -> Each[A]: ...
    @overload
    def __call__(self, a: Iterable[A], /, *, on_error: OnError = "stop") -> Each[A]: ...
    @overload
    def __call__(self, a: AsyncIterable[A], /, *, on_error: OnError = "stop") -> Each[A]: ...
    @overload
    def __call__(
        self,
        a: Handle[Iterable[A]] | Iterable[A | Handle[A]],
        b: Handle[Iterable[B]] | Iterable[B | Handle[B]],
        /,
        *,
        on_error: OnError = "stop",
    ) -> tuple[Each[A], Each[B]]: ...
    @overload
    def __call__(
        self,
        a: Handle[Iterable[A]] | Iterable[A | Handle[A]],
        b: Handle[Iterable[B]] | Iterable[B | Handle[B]],
        c: Handle[Iterable[C]] | Iterable[C | Handle[C]],
        /,
        *,
        on_error: OnError = "stop",
    ) -> tuple[Each[A], Each[B], Each[C]]: ...
    def __call__(self, *sources: Any, on_error: OnError = "stop") -> Any:
        """One call per element of a list, or of a handle of a list: `read(each(files))`.

        Several go side by side, one each per argument: `score(*each(models, tests))`. With `on_error="skip"`, elements that
        fail are left out of what follows, and named; with "stop" they fail the run.
        """
        return _made("each", Group("zip"), sources, on_error)

    @overload
    def product(
        self,
        a: Handle[Iterable[A]] | Iterable[A | Handle[A]],
        b: Handle[Iterable[B]] | Iterable[B | Handle[B]],
        /,
        *,
        on_error: OnError = "stop",
    ) -> tuple[Each[A], Each[B]]: ...
    @overload
    def product(
        self,
        a: Handle[Iterable[A]] | Iterable[A | Handle[A]],
        b: Handle[Iterable[B]] | Iterable[B | Handle[B]],
        c: Handle[Iterable[C]] | Iterable[C | Handle[C]],
        /,
        *,
        on_error: OnError = "stop",
    ) -> tuple[Each[A], Each[B], Each[C]]: ...
    def product(self, *sources: Any, on_error: OnError = "stop") -> Any:
        """All combinations of the elements, the last argument's changing fastest: `score(*each.product(models, tests))`."""
        return _made("each.product", Group("product"), sources, on_error)


each: Final = _EachOf()


def _made(name: str, group: Group, sources: tuple[Any, ...], on_error: Any) -> Any:
    if on_error not in ("stop", "skip"):
        what = f'{name}(..., on_error={on_error!r}): there is "stop" and "skip"'
        kind = NotInThisVersion if on_error == "collect" else GraphError
        raise kind(what, where=user_line(), mend='Write on_error="skip" to leave out elements that fail')
    if not sources:
        raise GraphError(f"{name}() has nothing to go over", where=user_line(), mend=f"Give it a list: {name}(files)")
    made = tuple(Each[Any](_source(name, source), group, on_error) for source in sources)
    return made[0] if len(made) == 1 else made


def _source(name: str, source: Any) -> Handle[Any] | Sequence[Any]:
    if isinstance(source, Handle):
        source.claim()
        return source
    if isinstance(source, str | bytes | Each) or not isinstance(source, Iterable):
        later = isinstance(source, AsyncIterable)
        kind = NotInThisVersion if later else GraphError
        what = f"{name}({source!r}) cannot be fanned out{': streams are not in this version of ashore' if later else ''}"
        raise kind(what, where=user_line(), mend="each(...) takes a list, or a handle of a list")
    return source if isinstance(source, range) else tuple(source)


@overload
def fixed(x: Handle[T], /) -> T: ...
@overload
def fixed(x: Handle[Any], kind: type[T], /) -> T: ...
@overload
def fixed(x: Mapping[K, Handle[T]], /) -> dict[K, T]: ...
@overload
def fixed(x: Iterable[Handle[T]], /) -> list[T]: ...
@overload
def fixed(x: T, /) -> T: ...
def fixed(x: Any, kind: Any = None, /) -> Any:
    """`x` whole, as one value, where a type checker wants the value: `fit(train=fixed(table))`, `concat(fixed([h1, h2]))`.

    At run time it is the handle (or the list or dictionary of handles) itself.
    """
    if isinstance(x, Each):
        raise GraphError("fixed(each(...)) is a contradiction", where=user_line(), mend="Pass each(...) by position, as it is")
    holds = type(x) is tuple and any(isinstance(item, Handle) for item in x)
    return list(x) if holds or isinstance(x, Iterator) else x
