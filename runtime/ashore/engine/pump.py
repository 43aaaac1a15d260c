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
from collections.abc import Callable, Coroutine, Generator
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
        self._staying_context: Context = context
        self._base: Context = context
        """The context of the pump that stays, and what it was when that began."""
        self._handed: tuple[Coroutine[Any, Any, None], Any] | None = None
        """A step that was begun in the name of the pump that stays, and has suspended: it goes on there."""
        self.stays = False
        """Whether a pump with nothing to do waits for more, instead of ending: where steps come one after the other."""
        self.stopping = False
        self.entering: Callable[[], object] = _nothing
        """Called in the context of each task before the task begins."""
        self.weight = 1
        """How many steps the last turn of a pump was: a stretch of elements is many."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    @property
    def tasks(self) -> int:
        return len(self._tasks)

    @property
    def turn(self) -> int:
        """How often the loop had a turn while a pump ran."""
        return self._turn

    def is_spent(self, turn: int, base: Context) -> bool:
        """Of what is awaited inline since that turn: whether the pump must have its say before another step is called there."""
        inside = self._inside
        return turn != self._turn or self.stopping or inside is None or inside.cancelling() > 0 or _is_changed(base)

    def is_suspending(self, function: Any) -> bool:
        """Whether this function is known to suspend."""
        return function in self._suspending

    def wake(self) -> None:
        """Something is ready: have it run, on the pump that is under way or on a new one."""
        if self._active is None and self._ready and not self.stopping:
            if self._parked is None or self._parked.done():
                context = self._entered()
                self._active = self.spawn(self._pump(context), context)
            else:
                self._active = self._staying
                self._parked.set_result(None)

    def spawn(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> asyncio.Task[None]:
        """A task of this run for `work`, with the run's context or this one."""
        task = self._loop.create_task(work, context=self._entered() if context is None else context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _entered(self) -> Context:
        context = self._context.copy()
        context.run(self.entering)
        return context

    def spawn_kept(self, work: Coroutine[Any, Any, None]) -> None:
        """A task that is never cancelled: what it does to the world cannot be taken back, so that `stop` waits for it."""
        task = self._loop.create_task(work, context=self._entered())
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

    def work_here(self) -> bool:
        """Run what is ready here and now, in the name of the pump that stays: as if it had its turn while the caller waits.

        The steps see that task as theirs, and its context. One that suspends goes on in it. For a caller that is about to wait.
        Returns whether there was such a pump.
        """
        me, pump, parked = asyncio.current_task(), self._staying, self._parked
        if me is None or pump is None or self._active is not None or parked is None or parked.done():
            return False
        self._active = pump
        asyncio.tasks._leave_task(self._loop, me)
        asyncio.tasks._enter_task(self._loop, pump)
        try:
            self._work_as(pump)
        finally:
            asyncio.tasks._leave_task(self._loop, pump)
            asyncio.tasks._enter_task(self._loop, me)
            self._active = None
        if self._handed is not None and not parked.done():
            parked.set_result(None)
        if self._ready:
            self.wake()
        else:
            self._idle()
        return True

    def _work_as(self, pump: asyncio.Task[None]) -> None:
        ready = self._ready
        for _ in range(_SLICE):
            if not ready or self.stopping:
                return
            todo = self._begin(ready.popleft())
            if todo is not None and not self._is_done_here(*todo):
                return
            if pump.cancelling() > 0 or _differs(self._staying_context, self._base):
                self._let_go()
                return

    def _is_done_here(self, function: Any, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work` until it ends, or suspends (then it goes on in the pump that stays); whether it has ended."""
        if function in self._suspending:
            self.spawn(work)
            return True
        try:
            yielded = self._staying_context.run(work.send, None)
        except StopIteration:
            return True
        except BaseException as error:  # noqa: BLE001  # what is begun here never raises, unless it is our bug
            self._broken(error)
            return True
        self._suspending.add(function)
        self._turn += 1
        self._handed = (work, yielded)
        return False

    def _let_go(self) -> None:
        """The pump that stays must not be used any more."""
        parked, self._parked, self._staying = self._parked, None, None
        if parked is not None and not parked.done():
            parked.cancel()

    async def _pump(self, context: Context) -> None:
        me = asyncio.current_task()
        assert me is not None
        base = copy_context()
        while await self._drain(me, base) and self.stays and self._staying is None and not self.stopping:
            self._staying, self._staying_context, self._base = me, context, base
            if not await self._stay():
                return

    async def _stay(self) -> bool:
        """Wait for more to do, or for a step to go on with. False if this task must not be used any more."""
        parked = self._parked = self._loop.create_future()
        error: BaseException | None = None
        try:
            await parked
        except asyncio.CancelledError as cancelled:
            error = cancelled
        handed, self._handed = self._handed, None
        self._staying = self._parked = None
        if handed is not None:
            await _Rest(*handed, error)
        elif error is not None and is_cancelled_from_outside():
            raise error
        return handed is None and error is None

    async def _drain(self, me: asyncio.Task[None], base: Context) -> bool:
        """Run what is ready, to the last. False if this task must not be used any more."""
        ready, begin = self._ready, self._begin
        count = 0
        self._arm()
        while ready and not self.stopping:
            todo = begin(ready.popleft())
            if todo is not None and self._must_retire(await self._inline(*todo, me), me, base):
                if self._active is me:
                    self._active = None
                self.wake()
                return False
            count += self.weight
            self.weight = 1
            if count >= _SLICE:
                count = 0
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


class _Rest:
    """A coroutine that was begun elsewhere in this task's name, from where it suspended: awaited, it goes on."""

    def __init__(self, work: Coroutine[Any, Any, None], yielded: Any, error: BaseException | None) -> None:
        self._work = work
        self._yielded = yielded
        self._error = error
        """What this task was told meanwhile: that it is cancelled."""

    def __await__(self) -> Generator[Any, Any, None]:
        yielded, error, sent = self._yielded, self._error, None
        try:
            if error is not None:
                _forget(yielded)
                yielded = self._work.throw(error)
            while True:
                try:
                    sent = yield yielded
                except BaseException as thrown:  # noqa: BLE001  # whatever it is, it is the step's
                    yielded = self._work.throw(thrown)
                else:
                    yielded = self._work.send(sent)
        except StopIteration:
            return


def _forget(yielded: Any) -> None:
    """Nobody waits for this future: its task was cancelled instead."""
    if isinstance(yielded, asyncio.Future):
        yielded._asyncio_future_blocking = False
        yielded.cancel()


def _nothing() -> None: ...


def _is_changed(base: Context) -> bool:
    """Whether the current context is another one."""
    return _differs(copy_context(), base)


def _differs(context: Context, base: Context) -> bool:
    """Whether two contexts hold other values. It compares the user's values, which may do anything when compared."""
    try:
        return context != base
    except BaseException:  # noqa: BLE001
        return True


def current_task() -> asyncio.Task[Any] | None:
    """The task that is running; None if no loop is."""
    return asyncio.current_task() if asyncio._get_running_loop() is not None else None


def is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the loop that is running, in this thread."""
    return asyncio._get_running_loop() is loop


async def give_way() -> None:
    """Let the loop have a turn."""
    await asyncio.sleep(0)


def is_cancelled_from_outside() -> bool:
    """Whether somebody asked the current task to be cancelled (a stray CancelledError has no such asker)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
