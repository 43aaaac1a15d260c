"""What a call gives: a handle, which stands for the value that will be.

A handle is a `collections.abc.Coroutine` without a state of its own, not a Future: asyncio and anyio take it wherever they take
a coroutine, any number of tasks may drive one, and a cancelled waiter never stops the work. At run time one class stands behind
all of them; `Handle2` to `Handle4` and `HandleOf` are what type checkers see of several outputs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from ashore.errors import GraphError, InternalError, user_line
from ashore.misuse import refusal, refuse_misuse
from ashore.streams import Items

if TYPE_CHECKING:
    from ashore.calls import Bound
    from ashore.works import Work

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T_co = TypeVar("T_co", covariant=True)
A_co = TypeVar("A_co", covariant=True)
B_co = TypeVar("B_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)
D_co = TypeVar("D_co", covariant=True)


class _ByHand:
    """Whoever drives a handle outside any task."""


_BY_HAND = _ByHand()


def _unknown(handle: Handle[Any]) -> Coroutine[Any, Any, Any]:
    """Until the runtime has told how: it is imported when the first handle is awaited."""
    import_module("ashore.entry")
    if _awaiter is _unknown:
        raise InternalError(f"{handle!r} cannot be awaited: the runtime has not told handles how")
    return _awaiter(handle)


def _no_task() -> object | None:
    import_module("ashore.entry")
    return None if _current_task is _no_task else _current_task()


def _waiter(handle: Handle[Any]) -> Coroutine[Any, Any, Any]:
    """A fresh coroutine that waits for the handle's value."""
    if handle.parent is not None and handle.node is None:  # an output of a call that stands in no graph
        return _part_of(handle.parent, handle.output)
    return _awaiter(handle)


async def _part_of(whole: Handle[Any], output: int | None) -> Any:
    outputs = whole.bound.work.outputs
    value = await whole
    return getattr(value, outputs[output or 0]) if isinstance(outputs, tuple) else value[output]


_awaiter: Callable[[Handle[Any]], Coroutine[Any, Any, Any]] = _unknown
_current_task: Callable[[], object | None] = _no_task


def set_awaiter(awaiter: Callable[[Handle[Any]], Coroutine[Any, Any, Any]], current_task: Callable[[], object | None]) -> None:
    """The runtime tells handles how one is awaited, and which task is running (`asyncio.current_task`).

    `awaiter(handle)` is called for every await of every handle, but for an output of a call outside a pipeline: that is the
    output of the awaited whole. What it returns is driven by one task only.
    """
    global _awaiter, _current_task
    _awaiter = awaiter
    _current_task = current_task


class Handle(Coroutine[Any, Any, T_co]):
    """What a call of a step or pipeline gives: pass it on to other steps, or await it for its value."""

    __slots__ = ("_drivers", "bound", "node", "output", "parent")

    produces = "value"
    """What an annotation `Handle[T]` stands for: T itself."""

    cr_code = None
    cr_frame = None
    cr_await = None
    cr_running = False

    def __init__(self, bound: Bound, node: Any = None, output: int | None = None, parent: Handle[Any] | None = None) -> None:
        self.bound = bound
        """The call: work, arguments, options."""
        self.node = node
        """Where the call stands in a graph; the engine's."""
        self.output = output
        """Which of several outputs, by number (named ones, too); None: the whole result."""
        self.parent = parent
        """The handle of the whole result, if this is one of its outputs."""
        self._drivers: WeakKeyDictionary[object, Coroutine[Any, Any, Any]] | None = None

    @property
    def annotation(self) -> Any:
        """The declared type of the value; None if there is none."""
        return self.bound.work.produced(self.output)

    def refresh(self, *steps: Work[Any, Any] | str) -> Self:
        """Do these steps again in the run of this call, though their results are known: `await retrain(...).refresh("fit")`.

        Steps by themselves or by their names; none at all: every step of the run. What they make is an additional output of its
        cache key, and the one that is served from then on, to all runs of the home; the earlier ones stay on record. What depends
        on them runs again only if their output is another one. Of a call that is not started yet; it gives the same call back.
        """
        raise GraphError(
            f"{self!r}.refresh(...): only a whole run is refreshed",
            where=user_line(),
            mend="Ask it of the call that is awaited or started, outside every pipeline",
        )

    def claim(self) -> None:
        """Somebody awaits, starts or passes on this call: it was not forgotten."""
        if self.parent is not None:
            self.parent.claim()

    def __await__(self) -> Generator[Any, Any, T_co]:
        self.claim()
        return _waiter(self).__await__()

    def send(self, value: Any, /) -> Any:
        """Drive the waiter of the running task; there is one for each task."""
        drivers, task = self._drivers_and_task()
        coroutine = drivers.get(task)
        if coroutine is None:
            self.claim()
            coroutine = drivers[task] = _waiter(self)
        try:
            return coroutine.send(value)
        except BaseException:
            drivers.pop(task, None)
            raise

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        """Throw into the waiter of the running task; the work goes on."""
        self.claim()
        drivers, task = self._drivers_and_task()
        coroutine = drivers.get(task)
        if coroutine is None:
            raise _instance(typ, val, tb)
        try:
            return coroutine.throw(_instance(typ, val, tb))
        except BaseException:
            drivers.pop(task, None)
            raise

    def close(self) -> None:
        """Let go of the waiter of the running task; the work goes on."""
        drivers, task = self._drivers_and_task()
        coroutine = drivers.pop(task, None)
        if coroutine is not None:
            coroutine.close()

    def _drivers_and_task(self) -> tuple[WeakKeyDictionary[object, Coroutine[Any, Any, Any]], object]:
        if self._drivers is None:
            self._drivers = WeakKeyDictionary()
        return self._drivers, _current_task() or _BY_HAND

    def __bool__(self) -> None:  # not bool, so that pyright reports `if handle`
        raise refusal(repr(self), "true or false")

    def __repr__(self) -> str:
        return f"{self.bound!r}{place_of(self)}"

    def __copy__(self) -> Handle[T_co]:
        return self

    def __deepcopy__(self, memo: Any) -> Handle[T_co]:
        return self

    def __reduce__(self) -> Any:
        raise refusal(repr(self), "pickled")

    if not TYPE_CHECKING:
        # Run time only: checkers shall report these, but on the classes below that stand for several outputs.

        def __iter__(self):
            return iter([self._part(number) for number in range(self._count("iterated over (it is one value)"))])

        def __len__(self):
            return self._count("asked for its length (it is one value)")

        def __getitem__(self, key):
            if type(key) is not int:
                raise refusal(repr(self), f"asked for [{key!r}]")
            count = self._count(f"asked for [{key}] (it is one value)")
            if not -count <= key < count:
                raise IndexError(f"{self!r} has {count} outputs, no [{key}]")
            return self._part(key % count)

        def __getattr__(self, name):
            work = self.bound.work
            if name in ("__name__", "__qualname__"):
                return work.name
            if name.startswith(("_", "cr_", "gi_", "ag_")):
                raise AttributeError(name)  # asked by libraries that probe, not by users
            outputs = work.outputs
            if self.output is None and isinstance(outputs, tuple) and name in outputs:
                return self._part(outputs.index(name))
            raise refusal(repr(self), f"asked for `.{name}`")

        async def __aiter__(self):
            for item in await self:
                yield item

        def _count(self, use):
            outputs = self.bound.work.outputs
            if self.output is not None or outputs is None:
                raise refusal(repr(self), use)
            return outputs if isinstance(outputs, int) else len(outputs)

        def _part(self, number):
            return Handle(self.bound, self.node, number, self)


refuse_misuse(Handle)


def place_of(handle: Handle[Any]) -> str:
    """Which output a handle is, as one writes it: "[0]", ".train"; "" for the whole result."""
    outputs = handle.bound.work.outputs
    if handle.output is None:
        return ""
    return f".{outputs[handle.output]}" if isinstance(outputs, tuple) else f"[{handle.output}]"


class Handles(Handle[Items[T]]):
    """The handle of many values: a fan-out or a stream. `await h` is the list, `async for x in h` gives them as they come."""

    __slots__ = ()

    produces = "list"

    if TYPE_CHECKING:

        def __aiter__(self) -> AsyncIterator[T]: ...


if TYPE_CHECKING:

    class Handle2(Handle[tuple[A_co, B_co]], tuple[Handle[A_co], Handle[B_co]]):
        """Two outputs: it unpacks into two handles."""

    class Handle3(Handle[tuple[A_co, B_co, C_co]], tuple[Handle[A_co], Handle[B_co], Handle[C_co]]):
        """Three outputs."""

    class Handle4(Handle[tuple[A_co, B_co, C_co, D_co]], tuple[Handle[A_co], Handle[B_co], Handle[C_co], Handle[D_co]]):
        """Four outputs."""

    class Handles2(Handles[tuple[A, B]], tuple[Handles[A], Handles[B]]):
        """The fan-out of a step with two outputs: it unpacks into two handles of many."""

    class Handles3(Handles[tuple[A, B, C]], tuple[Handles[A], Handles[B], Handles[C]]):
        """The fan-out of a step with three outputs."""

    class HandleOf(Handle[T_co]):
        """Outputs by name: `handle.train` is the handle of that field."""

        def __getattr__(self, name: str, /) -> Handle[Any]: ...
        def __iter__(self) -> Iterator[Handle[Any]]: ...

else:

    class Handle2(Handle[T_co], Generic[T_co, A_co]):
        """Two outputs: it unpacks into two handles."""

        __slots__ = ()

        produces = "tuple"

    class Handle3(Handle[T_co], Generic[T_co, A_co, B_co]):
        """Three outputs."""

        __slots__ = ()

        produces = "tuple"

    class Handle4(Handle[T_co], Generic[T_co, A_co, B_co, C_co]):
        """Four outputs."""

        __slots__ = ()

        produces = "tuple"

    class HandleOf(Handle[T_co]):
        """Outputs by name: `handle.train` is the handle of that field."""

        __slots__ = ()


def _instance(typ: Any, val: Any, tb: Any) -> BaseException:
    """The exception that the arguments of `throw` mean."""
    error: BaseException = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ(*_args(val))
    return error.with_traceback(tb) if tb is not None else error


def _args(val: Any) -> tuple[Any, ...]:
    return () if val is None else val if isinstance(val, tuple) else (val,)
