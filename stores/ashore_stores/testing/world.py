"""The other simulated ports: clock, randomness, workers and watcher, on a `SimLoop` and a `SimDisk`.

Blocking work runs in turns of the loop of its own, so that it never overlaps the loop. With `preempt` above 0 it runs on a thread
that the loop holds by the hand: it may stop at any call of the disk, others go on, and the seed says for how long. That is how
several simulated processes race for one log.
"""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple

import anyio

from ashore_stores.errors import Missing
from ashore_stores.ports import Change, Ports, Servant, Watch
from ashore_stores.testing.disk import PowerCut, SimDisk
from ashore_stores.testing.loop import SimLoop, current_loop, in_process
from ashore_stores.testing.media import split

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH = 1_900_000_000.0
"""Wall time at the start of a simulation, seconds."""

QUICK = 0.001
SLOW = 0.2
"""Most delays are below QUICK seconds, one in ten is up to SLOW."""

_HERE = threading.local()


class SimClock:
    """Virtual time of the loop; the wall clock jumps now and then, as wall clocks do."""

    def __init__(self, loop: SimLoop, seed: int = 0) -> None:
        self._loop = loop
        self._random = random.Random(f"clock-{seed}")
        self._skew = 0.0

    def now(self) -> float:
        if self._random.random() < 0.01:
            self._skew = self._random.uniform(-7200.0, 7200.0)
        return EPOCH + self._skew + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class SimRandomness:
    """Random bytes from a seed."""

    def __init__(self, seed: int | str = 0) -> None:
        self._random = random.Random(f"token-{seed}")

    def token(self, size: int) -> bytes:
        return self._random.randbytes(size)


class Job(Generic[T]):
    """One piece of blocking work, which goes on while `resume` is called and stops where it pauses."""

    def __init__(self, work: Callable[[], T], context: Context) -> None:
        self._work: Callable[[], T] = lambda: context.run(work)
        self.result: T | None = None
        self.error: BaseException | None = None
        self.is_done = False
        self.is_blocked = False
        self.is_doomed = False
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """All of it, here and now."""
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001
            self.error = error
        self.is_done = True

    def resume(self) -> None:
        """Let it go on, on its thread, until it pauses or ends."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._back.acquire()

    def pause(self, *, blocked: bool = False) -> None:
        """Called by the work: give the turn back to the loop."""
        self.is_blocked = blocked
        self._back.release()
        self._go.acquire()
        if self.is_doomed:
            raise PowerCut("abandoned")

    def abandon(self) -> None:
        """End it; its `finally` blocks run, and find the disk dead or are cut short themselves."""
        self.is_doomed = True
        while self._thread is not None and not self.is_done:
            self.resume()

    def _main(self) -> None:
        _HERE.job = self
        self.run()
        self._back.release()


class SimWorkers:
    """Blocking work in turns of the loop of its own, after a random delay."""

    def __init__(self, loop: SimLoop, disk: SimDisk, seed: int = 0, *, preempt: float = 0.0) -> None:
        self._loop = loop
        self._random = random.Random(f"workers-{seed}-{disk.name}")
        self._preempt = preempt
        self._hurry = False
        self._paused: list[Job[Any]] = []
        if preempt:
            disk.pause = self._maybe_pause
            disk.wait_turn = self.wait_turn
            loop.at_end(self._abandon)

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        future = self._loop.create_future()

        def done(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(partial(work, *args), done)
        return await future  # type: ignore[no-any-return]

    def submit(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        self.start(work, done)

    def servant(self, work: Callable[[], None], name: str) -> Servant:
        return SimServant(self, work, name)

    def poster(self) -> Callable[[Callable[[], None]], None]:
        loop, context = current_loop(), copy_context()

        def post(callback: Callable[[], None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback, context=context)

        return post

    # What the servant uses.

    def start(
        self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None], context: Context | None = None
    ) -> Job[T]:
        """Begin soon; `done` is called in a later turn of the loop, but not for the dead."""
        context = context or copy_context()
        job: Job[T] = Job(work, context.copy())
        self.later(partial(self._turn, job, done), context)
        return job

    def later(self, callback: Callable[[], None], context: Context) -> None:
        self._loop.call_later(self.delay(), callback, context=context)

    def delay(self) -> float:
        slow = self._random.random() < 0.1
        return self._random.uniform(1e-6, SLOW if slow else QUICK)

    def fail(self, error: BaseException) -> None:
        self._loop.halt(error)

    def drive(self, job: Job[Any]) -> None:
        """See a job to its end, from the loop; what holds a lock that it waits for goes on meanwhile."""
        self._hurry = True
        try:
            while not job.is_done:
                others = [other for other in self._paused if other is not job and not other.is_done]
                (self._random.choice(others) if job.is_blocked and others else job).resume()
        finally:
            self._hurry = False

    def wait_turn(self) -> None:
        """Called by work that waits for a lock or for other work."""
        job: Job[Any] | None = getattr(_HERE, "job", None)
        if job is None:
            raise RuntimeError("waiting on the loop itself for a lock that is held elsewhere: nobody could ever release it")
        job.pause(blocked=True)

    def _maybe_pause(self) -> None:
        job: Job[Any] | None = getattr(_HERE, "job", None)
        if job is not None and not self._hurry and self._random.random() < self._preempt:
            job.pause()

    def _turn(self, job: Job[T], done: Callable[[T | None, BaseException | None], None]) -> None:
        if self._go_on(job):
            self._deliver(job, done)
            return
        if job not in self._paused:
            self._paused.append(job)
        self.later(partial(self._turn, job, done), copy_context())

    def _go_on(self, job: Job[Any]) -> bool:
        """Let it run, up to where it pauses; whether it is done."""
        if not job.is_done:
            (job.resume if self._preempt else job.run)()
        return job.is_done

    def _deliver(self, job: Job[T], done: Callable[[T | None, BaseException | None], None]) -> None:
        if job in self._paused:
            self._paused.remove(job)
        if not isinstance(job.error, PowerCut):
            self._loop.call_soon(done, job.result, job.error)

    def _abandon(self) -> None:
        for job in self._paused:
            job.abandon()


class SimServant:
    """Work that is done again each time it is rung for."""

    def __init__(self, workers: SimWorkers, work: Callable[[], None], name: str) -> None:
        self._workers = workers
        self._work = work
        self._name = name
        self._context = copy_context()
        self._rung = False
        self._closed = False
        self._job: Job[None] | None = None

    def __repr__(self) -> str:
        return f"<SimServant {self._name}{' at work' if self._job else ''}{' rung for' if self._rung else ''}>"

    def ring(self) -> None:
        if self._rung or self._closed:
            return
        self._rung = True
        if self._job is None:
            self._begin()

    def close(self) -> None:
        self._closed = True
        if self._job is not None and getattr(_HERE, "job", None) is None:
            self._workers.drive(self._job)
        while self._job is not None and not self._job.is_done:
            self._workers.wait_turn()
        if self._rung:
            self._rung = False
            self._work()

    def _begin(self) -> None:
        self._job = self._workers.start(self._round, self._ended, self._context)

    def _round(self) -> None:
        if self._rung:
            self._rung = False
            self._work()

    def _ended(self, result: None, error: BaseException | None) -> None:
        self._job = None
        if error is not None:
            self._workers.fail(error)
        elif self._rung:
            self._begin()


class SimWatcher:
    """Hints from what happens on the disk: mostly soon, sometimes late, doubled, or missing."""

    def __init__(self, loop: SimLoop, disk: SimDisk, seed: int = 0, *, missing: float = 0.02) -> None:
        self._loop = loop
        self._disk = disk
        self._random = random.Random(f"watcher-{seed}-{disk.name}")
        self._missing = missing

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[Watch]:
        if self._disk.stat(path) is None:
            raise Missing(f"cannot watch {path}: there is nothing")
        watch, context = SimWatch(), copy_context()

        def hint(what: str, changed: str) -> None:
            change = _seen(path.rstrip("/"), what, changed)
            if change is not None:
                self._tell(watch, change, context)

        self._disk.machine.hints.append(hint)
        try:
            yield watch
        finally:
            self._disk.machine.hints.remove(hint)

    def _tell(self, watch: SimWatch, change: Change, context: Context) -> None:
        if self._random.random() < self._missing:
            return
        if self._random.random() < 0.02:
            change = Change("", complete=False)
        for _ in range(self._random.choice((1, 1, 1, 2))):
            is_late = self._random.random() < 0.05
            self._loop.call_later(self._random.uniform(1e-6, 2.0 if is_late else QUICK), watch.add, change, context=context)


class SimWatch:
    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._news = anyio.Event()

    def add(self, change: Change) -> None:
        self._changes.append(change)
        self._news.set()

    async def changes(self) -> Sequence[Change]:
        await self._news.wait()
        self._news = anyio.Event()
        changes, self._changes = self._changes, []
        return changes


class SimProcess:
    """A simulated process: ports of its own on a shared machine, and tasks that end with it."""

    def __init__(self, disk: SimDisk, seed: int, *, preempt: float = 0.2) -> None:
        self.disk = disk
        self.is_over = False
        self.error: BaseException | None = None
        self._loop = current_loop()
        self._over = anyio.Event()
        self.ports = sim_ports(seed, disk=disk, preempt=preempt)
        disk.on_death = self._die

    def __repr__(self) -> str:
        return f"<SimProcess {self.disk.name}{' over' if self.is_over else ''}>"

    def start(self, main: Callable[[Ports], Coroutine[Any, Any, None]]) -> None:
        """Run `main(ports)` as this process."""
        in_process(self, lambda: self._loop.create_task(self._main(main), name=self.disk.name))

    def kill(self) -> None:
        """kill -9, from outside."""
        if not self.is_over:
            self.disk.kill("killed from outside")

    async def ended(self) -> None:
        """Wait until its main ended or it was killed. Raises what `main` raised."""
        await self._over.wait()
        if self.error is not None:
            raise self.error

    async def _main(self, main: Callable[[Ports], Coroutine[Any, Any, None]]) -> None:
        try:
            await main(self.ports)
        except Exception as error:  # noqa: BLE001
            self.error = error
        if not self.is_over:
            self.disk.on_death = lambda error: None
            self.disk.kill("came to its end")
            self._end()

    def _die(self, error: PowerCut) -> None:
        self._loop.kill(self)
        self._loop.call_soon(self._end, context=Context())

    def _end(self) -> None:
        self.is_over = True
        self._over.set()


def sim_ports(seed: int, *, disk: SimDisk | None = None, preempt: float = 0.0) -> Ports:
    """Simulated ports on the running `SimLoop`. The death of the disk ends the loop with `PowerCut`."""
    loop = current_loop()
    disk = disk or SimDisk(seed)
    disk.machine.time_ns = lambda: int((EPOCH + loop.time()) * 1e9)
    if loop.halt not in disk.machine.on_cut:
        disk.machine.on_cut.append(loop.halt)
    disk.on_death = loop.halt
    life = f"{seed}-{disk.name}-{disk.process()}-{disk.machine.boot}"
    return Ports(
        clock=SimClock(loop, seed),
        random=SimRandomness(life),
        disk=disk,
        workers=SimWorkers(loop, disk, seed, preempt=preempt),
        watcher=SimWatcher(loop, disk, seed),
    )


def _seen(watched: str, what: str, changed: str) -> Change | None:
    """The hint that a watch gives for what happened, as inotify would; None if it does not see it."""
    folder, name = split(changed)
    complete = what in ("renamed", "closed")
    if changed == watched and what != "forgotten":
        return Change("", complete)
    return Change(name, complete) if folder == watched and what not in ("written", "forgotten") else None
