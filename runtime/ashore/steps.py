# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false
"""The decorators: `@step` and the other roles of steps, and `@pipeline`.

The order of the overloads matters: a result of Any fits every one, so it must meet the first; a NamedTuple is a tuple but one
value, so it comes before tuples.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from ashore.definitions import Definition
from ashore.durations import Duration
from ashore.errors import WrongArgument, did_you_mean, user_line
from ashore.fingerprint import Cache as Cache
from ashore.handles import Handle, Handles
from ashore.options import New
from ashore.options import new as new
from ashore.outputs import Outputs
from ashore.policies import POLICY_OPTIONS, Limit, OnLost, Retry
from ashore.signatures import Parameter as Parameter
from ashore.works import Pipeline as Pipeline
from ashore.works import Step as Step
from ashore.works import Work as Work

if TYPE_CHECKING:
    from ashore.handles import Handle2, Handle3, Handle4, HandleOf

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


class _Named(Protocol):
    """A NamedTuple: one value, though a tuple."""

    def _asdict(self) -> dict[str, Any]: ...


N = TypeVar("N", bound=_Named)
Out = TypeVar("Out", bound=Outputs)
H = TypeVar("H", bound=Handle[Any])

Async: TypeAlias = Coroutine[Any, Any, T]


class Role:
    """`step`, `trainer`, `evaluator` ...: decorators that make steps; with options, `@step(cache=True)`, other ones."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self._options = options

    @overload
    def __call__(self, fn: Callable[P, NoReturn], /) -> Step[Callable[P, Any], Handle[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[NoReturn]], /) -> Step[Callable[P, Async[Any]], Handle[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, AsyncIterator[T]], /) -> Step[Callable[P, AsyncIterator[T]], Handles[T]]: ...
    @overload
    def __call__(self, fn: Callable[P, Iterator[T]], /) -> Step[Callable[P, Iterator[T]], Handles[T]]: ...
    @overload
    def __call__(self, fn: Callable[P, Out], /) -> Step[Callable[P, Out], HandleOf[Out]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[Out]], /) -> Step[Callable[P, Async[Out]], HandleOf[Out]]: ...
    @overload
    def __call__(self, fn: Callable[P, N], /) -> Step[Callable[P, N], Handle[N]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[N]], /) -> Step[Callable[P, Async[N]], Handle[N]]: ...
    @overload
    def __call__(self, fn: Callable[P, tuple[A, B]], /) -> Step[Callable[P, tuple[A, B]], Handle2[A, B]]: ...
    @overload
    def __call__(self, fn: Callable[P, tuple[A, B, C]], /) -> Step[Callable[P, tuple[A, B, C]], Handle3[A, B, C]]: ...
    @overload
    def __call__(self, fn: Callable[P, tuple[A, B, C, D]], /) -> Step[Callable[P, tuple[A, B, C, D]], Handle4[A, B, C, D]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[tuple[A, B]]], /) -> Step[Callable[P, Async[tuple[A, B]]], Handle2[A, B]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[tuple[A, B, C]]], /) -> Step[Callable[P, Async[tuple[A, B, C]]], Handle3[A, B, C]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, Async[tuple[A, B, C, D]]], /
    ) -> Step[Callable[P, Async[tuple[A, B, C, D]]], Handle4[A, B, C, D]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[T]], /) -> Step[Callable[P, Async[T]], Handle[T]]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Step[Callable[P, T], Handle[T]]: ...
    @overload
    def __call__(
        self,
        *,
        cache: bool | str | Cache | None = None,
        retry: int | Retry | Callable[[Exception], object] = 0,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
        limit: int | str | Limit | None = None,
        priority: int = 0,
        cpus: float = 0,
        memory: int | str = 0,
        gpus: int = 0,
        effects: bool = False,
        on_lost: OnLost = "hold",
        check: Callable[..., Any] | None = None,
        process: bool = False,
        seed: int | None = None,
        store: bool = True,
    ) -> Role: ...
    def __call__(self, fn: Any = None, /, **options: Any) -> Any:  # type: ignore[misc]  # checked by _known
        """Make a step of a function; or, with options, a decorator that does so."""
        asked = {**self._options, **options}
        if fn is None:
            return Role(self.name, _known(self.name, asked, _STEP_OPTIONS))
        definition = Definition(fn, self.name, asked, is_pipeline=False)
        return Step[Any, Any](definition, definition.options)

    def __repr__(self) -> str:
        return _shown(self.name, self._options)


class PipelineRole:
    """`pipeline`: the decorator of pipelines; with options, `@pipeline(on=new("inbox/*.csv"))`, another one."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    @overload
    def __call__(self, fn: Callable[P, NoReturn], /) -> Pipeline[Callable[P, Any], Handle[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[NoReturn]], /) -> Pipeline[Callable[P, Async[Any]], Handle[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, H], /) -> Pipeline[Callable[P, H], H]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[H]], /) -> Pipeline[Callable[P, Async[H]], H]: ...
    @overload
    def __call__(
        self, fn: Callable[P, tuple[Handle[A], Handle[B]]], /
    ) -> Pipeline[Callable[P, tuple[Handle[A], Handle[B]]], Handle2[A, B]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, tuple[Handle[A], Handle[B], Handle[C]]], /
    ) -> Pipeline[Callable[P, tuple[Handle[A], Handle[B], Handle[C]]], Handle3[A, B, C]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, Async[tuple[Handle[A], Handle[B]]]], /
    ) -> Pipeline[Callable[P, Async[tuple[Handle[A], Handle[B]]]], Handle2[A, B]]: ...
    @overload
    def __call__(self, fn: Callable[P, list[Handle[T]]], /) -> Pipeline[Callable[P, list[Handle[T]]], Handle[list[T]]]: ...
    @overload
    def __call__(self, fn: Callable[P, dict[A, Handle[T]]], /) -> Pipeline[Callable[P, dict[A, Handle[T]]], Handle[dict[A, T]]]: ...
    @overload
    def __call__(self, fn: Callable[P, Async[T]], /) -> Pipeline[Callable[P, Async[T]], Handle[T]]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Pipeline[Callable[P, T], Handle[T]]: ...
    @overload
    def __call__(
        self,
        *,
        on: New | None = None,
        limit: int | str | Limit | None = None,
        priority: int = 0,
        cache: bool | None = None,
    ) -> PipelineRole: ...
    def __call__(self, fn: Any = None, /, **options: Any) -> Any:  # type: ignore[misc]  # checked by _known
        """Make a pipeline of a function; or, with options, a decorator that does so."""
        asked = {**self._options, **options}
        if fn is None:
            return PipelineRole(_known("pipeline", asked, _PIPELINE_OPTIONS))
        definition = Definition(fn, "pipeline", asked, is_pipeline=True)
        return Pipeline[Any, Any](definition, definition.options)

    def __repr__(self) -> str:
        return _shown("pipeline", self._options)


_STEP_OPTIONS: Final = ("cache", *POLICY_OPTIONS, "process", "seed", "store")
_PIPELINE_OPTIONS: Final = ("on", "limit", "priority", "cache")


def _known(role: str, asked: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in asked:
        if name not in names:
            mend = did_you_mean(name, names) or f"There are {', '.join(names)}"
            raise WrongArgument(f"@{role} has no option `{name}`", where=user_line(), mend=mend)
    return asked


def _shown(name: str, options: dict[str, Any]) -> str:
    return f"@{name}({', '.join(f'{option}={value!r}' for option, value in options.items())})" if options else f"@{name}"


step: Final = Role("step", {})
datasource: Final = Role("datasource", {})
splitter: Final = Role("splitter", {})
preprocessor: Final = Role("preprocessor", {})
trainer: Final = Role("trainer", {})
evaluator: Final = Role("evaluator", {})
tuner: Final = Role("tuner", {})
deployer: Final = Role("deployer", {})
drift_detector: Final = Role("drift_detector", {})
pipeline: Final = PipelineRole({})
