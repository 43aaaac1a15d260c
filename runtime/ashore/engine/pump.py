"""The hot path: ready invocations are awaited inline, on as few tasks as can be. The one place that touches asyncio.

One pump task drains the ready deque. As long as steps return without suspending, there is no other task, no timer, no lock. A
`call_soon` check is armed while a pump runs: it can only fire when the pump gave the loop a turn, that is, when the step it
awaits has suspended. That step then keeps its task to itself and the pump retires after it, so that cancelling or breaking a
task hits exactly one step; another pump goes on with what is ready. A function that suspended once gets a task of its own at
once from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

TimerHandle = asyncio.TimerHandle
Unit = TypeVar("Unit")

_SLICE = 64
"""Steps after which a pump lets the loop have a turn, so that a long run does not hold it."""
_REDELIVERIES = 5
"""How often a task that goes on after it was cancelled is cancelled again, over the grace time."""


class Pumps(Generic[Unit]):
    """The tasks of one run.

    `begin(unit)` is synchronous: it settles the unit itself (None), or gives the coroutine to await and the function it will
    call, by which steps that suspend are known. `broken(error)` is told of a task that ended by an exception: our bug.
    """

    def __init__(
        self,
        ready: deque[Unit],
        begin: Callable[[Unit], tuple[Any, Coroutine[Any, Any, None]] | None],
        idle: Callable[[], None],
        context: Context,
        broken: Callable[[BaseException], None],
    ) -> None:
        self._ready = ready
        self._begin = begin
        self._idle = idle
        self._context = context
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: set[asyncio.Task[None]] = set()
        self._suspending: set[Any] = set()
        self._active: asyncio.Task[None] | None = None
        """The pump that drains the deque now; None while there is none or its step has suspended."""
        self._turn = 0
        self._is_armed = False
        self._inside: asyncio.Task[None] | None = None
        """The pump that is awaiting a step inline."""
        self._parked: asyncio.Future[None] | None = None
        """What a pump with nothing to do waits for, if pumps stay."""
        self._staying: asyncio.Task[None] | None = None
        self.stays = False
        """Whether a pump with nothing to do waits for more, instead of ending: where steps come one after the other."""
        self.stopping = False

    @property
    def tasks(self) -> int:
        return len(self._tasks)

    @property
    def turn(self) -> int:
        """How often the loop had a turn while a pump ran."""
        return self._turn

    def is_suspending(self, function: Any) -> bool:
        """Whether this function is known to suspend."""
        return function in self._suspending

    def wake(self) -> None:
        """Something is ready: have it run, on the pump that is under way or on a new one."""
        if self._active is None and self._ready and not self.stopping:
            parked, self._parked = self._parked, None
            if parked is None or parked.done():
                self._active = self.spawn(self._pump())
            else:
                self._active = self._staying
                parked.set_result(None)

    def spawn(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> asyncio.Task[None]:
        """A task of this run for `work`, with the run's context or this one."""
        task = self._loop.create_task(work, context=self._context.copy() if context is None else context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def spawn_kept(self, work: Coroutine[Any, Any, None]) -> None:
        """A task that is never cancelled: what it does to the world cannot be taken back, so that `stop` waits for it."""
        task = self._loop.create_task(work, context=self._context.copy())
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        task.add_done_callback(self._ended)

    def later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Have `callback` called after a while, unless the timer is cancelled."""
        return self._loop.call_later(seconds, callback)

    def soon(self, callback: Callable[[], None]) -> None:
        """Have `callback` called in the next turn of the loop."""
        self._loop.call_soon(callback, context=self._context)

    def is_quiet(self) -> bool:
        """Whether the loop has nothing else to do now. Not every loop tells (uvloop does not): then False."""
        ready = getattr(self._loop, "_ready", None)
        return ready is not None and not ready

    def future(self) -> asyncio.Future[None]:
        """Something to wait for."""
        return self._loop.create_future()

    async def stop(self, grace: float, *, patiently: bool = False) -> int:
        """Cancel what runs and wait until it has ended; a task that goes on is cancelled again a few times, then left alone.

        What is never cancelled is waited for through the grace time as well, or as long as it takes (`patiently`).
        Returns how many tasks were left.
        """
        self.stopping = True
        for _ in range(_REDELIVERIES):
            if not self._tasks:
                break
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=grace / _REDELIVERIES)
        if self._kept:
            await asyncio.wait(self._kept, timeout=None if patiently else grace)
        return len(self._tasks) + len(self._kept)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._broken(error)
        elif task is self._active:  # it was cancelled before it came to run, or while it gave the loop a turn
            self._active = None
            self.wake()

    def _arm(self) -> None:
        if not self._is_armed:
            self._is_armed = True
            self._loop.call_soon(self._check)

    def _check(self) -> None:
        """The pump gave the loop a turn: its step suspended, unless it was the pump's own yield."""
        self._is_armed = False
        self._turn += 1
        if self._inside is None or self._inside is not self._active:
            return
        self._active = None
        if self._ready:
            self.wake()
        else:
            self._idle()

    async def _pump(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        base = copy_context()
        while await self._drain(me, base) and self.stays and self._parked is None and not self.stopping:
            self._staying = me
            self._parked = self._loop.create_future()
            await self._parked

    async def _drain(self, me: asyncio.Task[None], base: Context) -> bool:
        """Run what is ready, to the last. False if this task must not be used any more."""
        ready, begin = self._ready, self._begin
        count = 0
        self._arm()
        while ready and not self.stopping:
            todo = begin(ready.popleft())
            count += 1
            if todo is not None and self._must_retire(await self._inline(*todo, me), me, base):
                if self._active is me:
                    self._active = None
                self.wake()
                return False
            if count % _SLICE == 0:
                await asyncio.sleep(0)
                self._arm()
        if self._active is me:
            self._active = None
        self._idle()
        return True

    async def _inline(self, function: Any, work: Coroutine[Any, Any, None], me: asyncio.Task[None]) -> bool:
        """Await `work` here, or give it a task if its function is known to suspend; whether it suspended here."""
        if function in self._suspending:
            self.spawn(work)
            return False
        turn = self._turn
        self._inside = me
        await work
        if turn == self._turn:
            self._inside = None
            return False
        self._suspending.add(function)
        return True

    def _must_retire(self, suspended: bool, me: asyncio.Task[None], base: Context) -> bool:
        return suspended or self.stopping or me.cancelling() > 0 or _is_changed(base)


def _is_changed(base: Context) -> bool:
    """Whether the current context is another one. It compares the user's values, which may do anything when compared."""
    try:
        return copy_context() != base
    except BaseException:  # noqa: BLE001
        return True


def current_task() -> asyncio.Task[Any] | None:
    """The task that is running."""
    return asyncio.current_task()


async def give_way() -> None:
    """Let the loop have a turn."""
    await asyncio.sleep(0)


def is_cancelled_from_outside() -> bool:
    """Whether somebody asked the current task to be cancelled (a stray CancelledError has no such asker)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
