"""One task that holds context managers open: what is entered on a task is left on it, the last one first."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from ashore.errors import AshoreError
from ashore.notices import log
from ashore_stores.ports import Workers

_MAKERS: Final = (type, partial)
"""What is called to get a resource, beside functions and methods. Other objects are the resource, callable or not."""


class _Wanted:
    """A resource that somebody waits for."""

    def __init__(self, name: str, given: Any) -> None:
        self.name = name
        self.given = given
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = anyio.Event()


class Keeper:
    """Opens resources as they are asked for, one after the other, and closes them in reverse order."""

    def __init__(self, workers: Workers, grace: float) -> None:
        self._workers = workers
        self._grace = grace
        self._wanted: deque[_Wanted] = deque()
        self._news = anyio.Event()
        self._over = anyio.Event()
        self._scope = anyio.CancelScope(shield=True)
        self._is_closing = False
        self._error: Exception | None = None
        self._values: dict[str, Any] = {}
        self._group: TaskGroup

    async def __aenter__(self) -> Keeper:
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._keep)
        return self

    async def open(self, name: str, given: Any) -> Any:
        """The value of a resource: of a context manager what entering it gives, of a function what it gives, else itself.

        Raises what opening raises, as itself; `AshoreError` if what is open came to an end by itself.
        """
        wanted = _Wanted(name, given)
        self._wanted.append(wanted)
        self._news.set()
        if self._over.is_set():
            self._refuse()
        await wanted.done.wait()
        if wanted.error is not None:
            raise wanted.error
        return wanted.value

    async def aclose(self) -> None:
        """Close all, however often the caller is cancelled. What takes longer than the grace time is given up.

        Raises what closing raises. Not to be called within a cancel scope that was entered after `__aenter__`.
        """
        self._is_closing = True
        self._news.set()
        with anyio.move_on_after(self._grace, shield=True):
            await self._over.wait()
        if not self._over.is_set():
            log.warning("resources given up: closing them takes too long", seconds=self._grace)
            self._scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            if self._error is not None:
                raise self._error

    async def _keep(self) -> None:
        try:
            with self._scope:
                async with AsyncExitStack() as stack:
                    await self._serve(stack)
        except Exception as error:  # noqa: BLE001  # theirs: told to whoever closes the runtime, and to whoever asks for more
            self._error = error
        finally:
            self._over.set()
            self._refuse()

    async def _serve(self, stack: AsyncExitStack) -> None:
        while not self._is_closing:
            await self._news.wait()
            self._news = anyio.Event()
            while self._wanted:
                wanted = self._wanted.popleft()
                try:
                    if wanted.name not in self._values:  # several may wait for it
                        self._values[wanted.name] = await self._opened(stack, wanted.given)
                    wanted.value = self._values[wanted.name]
                except Exception as error:  # noqa: BLE001  # theirs: the attempt that asked for it fails by it
                    wanted.error = error
                    error.add_note(f"while the resource {wanted.name!r} was opened")
                except BaseException:
                    wanted.error = _ended(wanted.name, None)
                    raise
                finally:
                    wanted.done.set()

    async def _opened(self, stack: AsyncExitStack, value: Any) -> Any:
        if inspect.isroutine(value) or isinstance(value, _MAKERS):
            if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
                value = (contextmanager if inspect.isgeneratorfunction(value) else asynccontextmanager)(value)
            value = value()
        if inspect.iscoroutine(value):
            value = await value
        if hasattr(type(value), "__aenter__"):
            return await stack.enter_async_context(value)
        if hasattr(type(value), "__enter__"):
            return await self._entered(stack, value)
        return value

    async def _entered(self, stack: AsyncExitStack, manager: Any) -> Any:
        """A manager that may block is entered and left on a worker thread."""
        value = await self._workers.run(manager.__enter__)
        stack.push_async_callback(self._workers.run, manager.__exit__, None, None, None)
        return value

    def _refuse(self) -> None:
        """Nobody opens anything any more."""
        while self._wanted:
            wanted = self._wanted.popleft()
            wanted.error = _ended(wanted.name, self._error)
            wanted.done.set()


def _ended(name: str, cause: Exception | None) -> AshoreError:
    what = f"the resource {name!r} cannot be opened: those of this runtime are closed"
    if cause is not None:
        what += ", by " + ", ".join(f"{type(leaf).__name__}: {leaf}" for leaf in _leaves(cause))
    error = AshoreError(what, mend="Open another Runtime")
    error.__cause__ = cause
    return error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
