"""This machine's threads: all daemonic, so that work that was abandoned never keeps the process alive."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

from ashore_stores.ports import Servant
from ashore_stores.system.process import generation

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Post = Callable[[Callable[[], None]], None]

POOL_BOUND: Final = max(32, 4 * (os.cpu_count() or 1))
IDLE_SECONDS: Final = 10.0


class _Mailbox:
    """Callbacks on their way to one loop: many posts, one wake-up."""

    def __init__(self, token: Any) -> None:
        # asyncio and uvloop have the one, trio the other
        self._wake: Callable[[Callable[[], None]], object] = getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_woken = False

    def post(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)
        if not self._is_woken:
            self._is_woken = True
            self._schedule()

    def _schedule(self) -> None:
        try:
            self._wake(self._deliver)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            self._waiting.clear()

    def _deliver(self) -> None:
        self._is_woken = False  # before the look: what is posted from here on wakes the loop again
        for _ in range(len(self._waiting)):
            callback = self._waiting.popleft()
            try:
                callback()
            except BaseException:
                self._is_woken = True
                self._schedule()  # the loop reports this one, the others still get their turn
                raise


_mailboxes: WeakKeyDictionary[Any, _Mailbox] = WeakKeyDictionary()


def _mailbox() -> _Mailbox:
    token = current_token().native_token
    found = _mailboxes.get(token)
    if found is None:
        found = _mailboxes[token] = _Mailbox(token)
    return found


class _Job(NamedTuple):
    work: Callable[[], Any]
    done: Callable[[Any, BaseException | None], None]
    post: Post
    context: Context


class _Pool:
    """Daemon threads that come when there is more to do than threads, and leave when idle."""

    def __init__(self, name: str, bound: int) -> None:
        self._name = name
        self._bound = bound
        self.reset()
        generation.on_fork(self.reset)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0  # queued or running

    def __repr__(self) -> str:
        return f"{self._name}: {self._threads} of {self._bound} threads, {self._unfinished} unfinished"

    def put(self, job: _Job) -> None:
        with self._lock:
            self._unfinished += 1
            grow = self._threads < min(self._unfinished, self._bound)
            self._threads += grow
        self._jobs.put(job)
        if grow:
            self._grow()

    def _grow(self) -> None:
        try:
            threading.Thread(target=self._serve, name=f"ashore-{self._name}", daemon=True).start()
        except RuntimeError:  # the system gives no more threads: those that there are do the work
            with self._lock:
                self._threads -= 1
                stuck = self._threads == 0
            if stuck:
                raise

    def _serve(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._leave():
                    return
                continue
            self._do(job)
            del job  # an idle thread holds on to nothing

    def _do(self, job: _Job) -> None:
        result, failure = None, None
        try:
            result = job.context.run(job.work)
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, belongs to who asked for the work
            failure = error
        with self._lock:  # before the news: what it sets off finds this thread free
            self._unfinished -= 1
        job.post(functools.partial(job.done, result, failure))

    def _leave(self) -> bool:
        with self._lock:
            if self._unfinished >= self._threads:
                return False
            self._threads -= 1
            return True


class ThreadWorkers:
    """Threads of ours. `submit` (steps, which may take hours) and `run` (stores) have a pool each: neither starves the other.

    Work runs in a copy of the context it was given in.
    """

    def __init__(self, bound: int = POOL_BOUND) -> None:
        self._submitted = _Pool("worker", bound)
        self._run = _Pool("store", bound)

    def __repr__(self) -> str:
        return f"<ThreadWorkers {self._submitted}; {self._run}>"

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        is_done = anyio.Event()
        outcome: list[tuple[Any, BaseException | None]] = []

        def done(result: T | None, error: BaseException | None) -> None:
            outcome.append((result, error))
            is_done.set()

        self._run.put(_Job(functools.partial(work, *args), done, _mailbox().post, copy_context()))
        await is_done.wait()
        result, error = outcome.pop()
        if error is None:
            return result  # type: ignore[no-any-return] # it is what `work` returned
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def submit(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        self._submitted.put(_Job(work, done, _mailbox().post, copy_context()))

    def servant(self, work: Callable[[], None], name: str) -> Servant:
        return ThreadServant(work, name)

    def poster(self) -> Post:
        return _mailbox().post


class ThreadServant:
    """One daemon thread that does `work` each time it is rung for, however often it is rung meanwhile.

    An exception of `work` goes to `threading.excepthook`, and the servant goes on.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._generation = generation.number
        self._is_wanted = False
        self._is_closing = False
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"ashore-{name}", daemon=True)
        self._thread.start()

    def ring(self) -> None:
        if self._generation == generation.number:  # in a forked child there is no thread to hear it
            self._is_wanted = True
            self._bell.set()

    def close(self) -> None:
        if self._generation != generation.number:
            return
        self._is_closing = True
        self._bell.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        while self._is_wanted or not self._is_closing:
            self._bell.wait()
            self._bell.clear()
            while self._is_wanted:
                self._is_wanted = False
                try:
                    self._work()
                except BaseException as error:  # noqa: BLE001 - reported, and the next ring is served
                    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self._thread)))
