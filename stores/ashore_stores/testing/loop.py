"""A seeded event loop: virtual time, shuffled wake-ups, one order per seed.

Time stands still while anything can run, then jumps to the next timer. Of the tasks that may go on in one turn of the loop, the
seed decides who goes first; plain callbacks keep their order, which asyncio promises. Everything that ran goes into a trace, so
that two runs of one seed can be compared over processes and hash seeds.

What makes order depend on memory addresses is put right here: tasks that were woken through a set (a cancelled scope, say) are
sorted by age before they are shuffled, and tasks are kept alive to the end, so that the garbage collector decides nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import random
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION = 1e-9
"""Timers closer than this (seconds) come due together."""

MAX_TURNS = 3_000_000
"""A simulation that turns longer than this goes in circles."""

SHOWN_TASKS = 12

PROCESS: ContextVar[object] = ContextVar("PROCESS", default=None)
"""The simulated process that a callback belongs to; those of a dead one are dropped."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: whoever waits would wait for ever. Lists the waiting tasks."""


class Runaway(RuntimeError):
    """The simulation turned MAX_TURNS times without an end."""


class SimLoop(asyncio.BaseEventLoop):
    """An asyncio loop without sockets, on which a seed decides the order. Works under anyio (asyncio backend)."""

    def __init__(self, seed: int = 0, *, max_turns: int = MAX_TURNS) -> None:
        super().__init__()
        self.seed = seed
        self.turns = 0
        self._random = random.Random(f"loop-{seed}")
        self._virtual = 0.0
        self._clock_resolution = RESOLUTION
        self._max_turns = max_turns
        self._ready: deque[asyncio.Handle] = deque()
        self._scheduled: list[asyncio.TimerHandle] = []
        self._timer_cancelled_count = 0
        self._ages: dict[asyncio.Task[Any], int] = {}
        self._owners: dict[asyncio.Task[Any], object] = {}
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._dead: set[object] = set()
        self._halted: BaseException | None = None
        self._trace = hashlib.blake2b(digest_size=16)
        self._last_rites: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<SimLoop seed={self.seed} at {self._virtual:.6f} s, turn {self.turns}, {len(self._ages)} tasks>"

    @property
    def trace(self) -> str:
        """A hash of all that ran, in order."""
        return self._trace.hexdigest()

    def note(self, text: str) -> None:
        """Put something that happened into the trace."""
        self._trace.update(text.encode("utf-8", "surrogateescape"))

    def time(self) -> float:
        return self._virtual

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **options)
        self._age(task)
        context = options.get("context")
        self._owners[task] = PROCESS.get() if context is None else context.get(PROCESS)
        return task

    def halt(self, reason: BaseException) -> None:
        """The machine stops here: nothing more runs on this loop, and `reason` comes out of it."""
        self._halted = self._halted or reason

    def kill(self, process: object) -> None:
        """Nothing that belongs to this process (see `PROCESS`) runs any more."""
        self._dead.add(process)

    def at_end(self, rite: Callable[[], None]) -> None:
        """Have `rite` called before the loop is closed, also after a halt."""
        self._last_rites.append(rite)

    def close(self) -> None:
        """Close; coroutines that were left behind are closed one by one, oldest first, and cannot be heard any more."""
        if self.is_closed():
            return
        for rite in self._last_rites:
            rite()
        left = [task for task in self._ages if not task.done()]
        self.halt(RuntimeError("the loop is closed"))
        asyncio._set_running_loop(self)  # what runs now asks for the loop
        try:
            for generator in self._generators:
                _close_quietly(getattr(generator, "ag_await", None))
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close_quietly(task.get_coro())
        finally:
            asyncio._set_running_loop(None)
        super().close()

    def cancel_all(self) -> None:
        """Cancel the tasks that are left, oldest first, and let them end."""
        left = [task for task in self._ages if not task.done() and self._owners.get(task) not in self._dead]
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(_ended(left))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._halted is None and not self._dead:
            super().call_exception_handler(context)

    # What the base class leaves to a loop with a selector, and its turn.

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timer_cancelled_count += 1

    def _asyncgen_firstiter_hook(self, agen: Any) -> None:
        super()._asyncgen_firstiter_hook(agen)  # type: ignore[misc]
        self._generators.append(agen)

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        if self._halted is None:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    def _run_once(self) -> None:
        self._raise_if_over()
        if not self._ready and not self._stopping:  # type: ignore[attr-defined]
            self._jump()
        self._collect_due()
        self._shuffle()
        for _ in range(len(self._ready)):
            self._run_next(self._ready.popleft())

    def _raise_if_over(self) -> None:
        self.turns += 1
        if self._halted is not None:
            raise self._halted
        if self.turns > self._max_turns:
            raise Runaway(f"{self!r} did not end; the youngest tasks:\n{self._describe_tasks()}")

    def _run_next(self, handle: asyncio.Handle) -> None:
        if handle._cancelled or (self._dead and _process_of(handle) in self._dead):
            return
        self._trace.update(self._name(handle))
        handle._run()
        if self._halted is not None:
            raise self._halted

    def _jump(self) -> None:
        """Move the clock to the next timer."""
        while self._scheduled and (self._scheduled[0]._cancelled or _process_of(self._scheduled[0]) in self._dead):
            self._drop_timer()
        if not self._scheduled:
            raise Deadlock(f"{self!r}: nothing is ready and no timer is set; waiting are:\n{self._describe_tasks()}")
        self._virtual = max(self._virtual, self._scheduled[0].when())
        self._trace.update(b"@%r" % self._virtual)

    def _collect_due(self) -> None:
        due = self._virtual + RESOLUTION
        while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0].when() < due):
            handle = self._drop_timer()
            if not handle._cancelled:
                self._ready.append(handle)

    def _drop_timer(self) -> asyncio.TimerHandle:
        handle = heapq.heappop(self._scheduled)
        handle._scheduled = False  # type: ignore[attr-defined]
        if handle._cancelled:
            self._timer_cancelled_count -= 1
        return handle

    def _shuffle(self) -> None:
        """Deal the places of this turn's tasks among them."""
        if len(self._ready) < 2:
            return
        handles = list(self._ready)
        places = [place for place, handle in enumerate(handles) if _task_of(handle) is not None]
        if len(places) < 2:
            return
        steps = sorted((handles[place] for place in places), key=self._age_of_handle)
        self._random.shuffle(steps)
        for place, handle in zip(places, steps, strict=True):
            handles[place] = handle
        self._ready.clear()
        self._ready.extend(handles)

    def _age(self, task: asyncio.Task[Any]) -> int:
        return self._ages.setdefault(task, len(self._ages))

    def _age_of_handle(self, handle: asyncio.Handle) -> int:
        task = _task_of(handle)
        return -1 if task is None else self._age(task)

    def _name(self, handle: asyncio.Handle) -> bytes:
        task = _task_of(handle)
        if task is not None:
            return b"t%d;" % self._age(task)
        callback: Any = handle._callback  # type: ignore[attr-defined]
        return getattr(callback, "__qualname__", type(callback).__qualname__).encode()

    def _describe_tasks(self) -> str:
        waiting = [task for task in self._ages if not task.done()]
        return "\n".join(f"  {_where(task)}" for task in waiting[-SHOWN_TASKS:]) or "  (no task)"


def simulate(main: Callable[[], Coroutine[Any, Any, T]], seed: int, *, max_turns: int = MAX_TURNS) -> T:
    """Run `main()` on a fresh `SimLoop` and return its result.

    Raises what `main` raises, `Deadlock`, `Runaway`, or what the loop was halted with (a power cut).
    """
    loop = SimLoop(seed, max_turns=max_turns)
    try:
        result = loop.run_until_complete(main())
        loop.cancel_all()
    finally:
        loop.close()
    return result


def current_loop() -> SimLoop:
    """The simulated loop that runs now. Raises `RuntimeError` outside of a simulation."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimLoop):
        raise RuntimeError(f"not in a simulation: the running loop is {loop!r}; use `simulate` or the loop factory SimLoop")  # noqa: TRY004
    return loop


def in_process(process: object, work: Callable[[], T]) -> T:
    """Call `work` as that simulated process: what it schedules belongs to it."""

    def call() -> T:
        PROCESS.set(process)
        return work()

    return copy_context().run(call)


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task


def _process_of(handle: asyncio.Handle) -> object:
    return handle._context.get(PROCESS)  # type: ignore[attr-defined]


def _task_of(handle: asyncio.Handle) -> asyncio.Task[Any] | None:
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return owner if isinstance(owner, asyncio.Task) else None


def _where(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=3)
    lines = " < ".join(f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in stack)
    return f"{task.get_name()} at {lines or task.get_coro()!r}"


def _close_quietly(coroutine: Any) -> None:
    """End what was left behind; its `finally` blocks run, but whatever they do or raise is nobody's business."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # some had not even begun
            coroutine.close()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001
        return
