# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false
"""Fan-out: `each(...)` calls a step once for each element; `fixed(...)` passes a handle whole, as one value."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, get_args, overload

from ashore.errors import GraphError, user_line
from ashore.handles import Handle
from ashore.misuse import refusal

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
K = TypeVar("K")
T_co = TypeVar("T_co", covariant=True)

OnError = Literal["stop", "skip", "collect"]
AT_ONCE: Final = 1024
"""Elements of a fan-out that are under way at once, where no limit says otherwise."""


class Group:
    """Which `each` values belong together, and how: side by side ("zip"), or in all combinations ("product")."""

    __slots__ = ("how",)

    def __init__(self, how: Literal["zip", "product"]) -> None:
        self.how = how

    def __repr__(self) -> str:
        return f"<{self.how} {id(self):x}>"


class Each(Generic[T_co]):
    """An argument that stands for one call per element. Made by `each(...)`, passed by position."""

    __slots__ = ("group", "limit", "on_error", "source", "where")

    def __init__(
        self,
        source: Handle[Any] | Sequence[Any] | AsyncIterable[Any],
        group: Group,
        on_error: OnError = "stop",
        limit: int | None = None,
    ) -> None:
        self.source = source
        """A handle of a list; a list, tuple or range; or an async iterable."""
        self.group = group
        self.on_error = on_error
        self.limit = limit
        """How many elements may be under way at once."""
        self.where = user_line()
        """ "file:line" of the call of `each`."""

    def __repr__(self) -> str:
        if isinstance(self.source, Handle | range):
            return f"each({self.source!r})"
        if isinstance(self.source, Sequence):
            return f"each(<{len(self.source)}>)"
        return f"each(<{type(self.source).__name__}>)"

    if not TYPE_CHECKING:  # checkers shall not take it for an iterable

        def __iter__(self):
            raise refusal(repr(self), "iterated over (a step takes it by position)")


class _EachOf:
    """`each`: see `__call__`."""

    @overload
    def __call__(self, a: Handle[Iterable[A]], /, *, on_error: OnError = "stop", limit: int | None = None) -> Each[A]: ...
    @overload
    def __call__(self, a: Iterable[Handle[A]], /, *, on_error: OnError = "stop", limit: int | None = None) -> Each[A]: ...
    @overload
    def __call__(self, a: Iterable[A], /, *, on_error: OnError = "stop", limit: int | None = None) -> Each[A]: ...
    @overload
    def __call__(self, a: AsyncIterable[A], /, *, on_error: OnError = "stop", limit: int | None = None) -> Each[A]: ...
    @overload
    def __call__(
        self,
        a: Handle[Iterable[A]] | Iterable[A | Handle[A]],
        b: Handle[Iterable[B]] | Iterable[B | Handle[B]],
        /,
        *,
        on_error: OnError = "stop",
        limit: int | None = None,
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
        limit: int | None = None,
    ) -> tuple[Each[A], Each[B], Each[C]]: ...
    def __call__(self, *sources: Any, on_error: OnError = "stop", limit: int | None = None) -> Any:
        """One call per element of a list, a handle of a list, or an async iterator: `read(each(files))`.

        Several go side by side, one each per argument: `score(*each(models, tests))`. Elements start as they become known, and
        their results go on to the next `each` one by one; only a step that takes the whole list waits for all of them.

        `on_error="stop"`: the first element that fails fails the call. "skip": those that fail are left out of what follows,
        and named. "collect": all run, and what follows element by element goes on with the good ones; then the call fails with
        all failures in one `ElementsFailed`.

        `limit`: how many elements are under way at once (1,024 if nothing is said). An async iterator is asked for no more
        than can be under way. It may be endless. What it gave is on record before any outcome of it; if the run is resumed, it
        is iterated anew, and what it gives again, by content, is the element that it was.
        """
        return _made("each", Group("zip"), sources, on_error, limit)

    @overload
    def product(
        self,
        a: Handle[Iterable[A]] | Iterable[A | Handle[A]],
        b: Handle[Iterable[B]] | Iterable[B | Handle[B]],
        /,
        *,
        on_error: OnError = "stop",
        limit: int | None = None,
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
        limit: int | None = None,
    ) -> tuple[Each[A], Each[B], Each[C]]: ...
    def product(self, *sources: Any, on_error: OnError = "stop", limit: int | None = None) -> Any:
        """All combinations of the elements, the last argument's changing fastest: `score(*each.product(models, tests))`.

        Of the first argument elements may come without end; of the others it must be known how many there are before any
        combination can start.
        """
        return _made("each.product", Group("product"), sources, on_error, limit)


each: Final = _EachOf()


def _made(name: str, group: Group, sources: tuple[Any, ...], on_error: Any, limit: Any) -> Any:
    if on_error not in get_args(OnError):
        what = f'{name}(..., on_error={on_error!r}): there is "stop", "skip" and "collect"'
        raise GraphError(what, where=user_line(), mend='Write on_error="skip" to leave out elements that fail')
    if limit is not None and (type(limit) is not int or limit < 1):
        what = f"{name}(..., limit={limit!r}): that is no number of elements"
        raise GraphError(what, where=user_line(), mend="Give a whole number: limit=8")
    if not sources:
        raise GraphError(f"{name}() has nothing to go over", where=user_line(), mend=f"Give it a list: {name}(files)")
    made: tuple[Each[Any], ...] = tuple([Each(_source(name, source), group, on_error, limit) for source in sources])
    return made[0] if len(made) == 1 else made


def _source(name: str, source: Any) -> Handle[Any] | Sequence[Any] | AsyncIterable[Any]:
    if isinstance(source, Handle):
        source.claim()
        return source
    if isinstance(source, AsyncIterable) and not isinstance(source, list):  # an awaited fan-out is both
        return source
    if isinstance(source, Mapping | Set):
        what, mend = f"{name}({type(source).__name__}) has no order that stays", f"Give it a list: {name}(sorted(...))"
        if isinstance(source, Mapping):
            what, mend = f"{name}({type(source).__name__}) could mean keys, values or both", f"Write {name}(list(x.values()))"
        raise GraphError(what, where=user_line(), mend=f"{mend}; each(...) takes a list, or a handle of a list")
    if isinstance(source, str | bytes | Each) or not isinstance(source, Iterable):
        what = f"{name}({source!r}) cannot be fanned out"
        mend = "each(...) takes a list, or a handle of a list, or an async iterator"
        raise GraphError(what, where=user_line(), mend=mend)
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
