"""The daemon's entry: loads the files, takes the pipelines over, heeds signals, and says how it ended by its exit code.

SIGTERM or SIGINT once: nothing new is taken in, runs go on through the grace time, what is not done by then is left in the log for
the next daemon, and everything is flushed. Twice: the process ends at once, which is safe by the promises of the log.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from logging import WARNING
from typing import Any, Final

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from ashore.environment import who_am_i
from ashore.errors import AshoreError, HomeError, TargetError
from ashore.faces.daemon.service import Daemon
from ashore.faces.daemon.talk import Talk
from ashore.runtime import Runtime
from ashore.stack import Stack, open_stack
from ashore.targets import load_file, target_of
from ashore.triggers.scan import BadPattern
from ashore.triggers.serving import Holder, claim_serving
from ashore.works import Pipeline
from ashore_stores.errors import Corrupt, NewerFormat, ReadOnly, StoreError
from ashore_stores.ports import Clock

GRACE: Final = 10.0
"""Seconds that runs under way are given when the daemon is told to stop."""

DONE, FAILED, USAGE, TRANSIENT, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes."""


class NothingToServe(AshoreError):
    """The files do not say what to serve: no pipeline with a trigger, or two of one name."""


class ServedAlready(HomeError):
    """A living daemon serves a pipeline of the home already. Names its process, host, and since when."""


def main(files: Sequence[str], *, home: str | None = None, grace: float = GRACE, standby: bool = False) -> int:
    """Serve the files' pipelines until told to stop; returns the exit code. Everything that is said goes to stderr."""
    talk = Talk()
    quiet = structlog.make_filtering_bound_logger(WARNING)  # what else happens, the daemon says itself
    structlog.configure(wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    has_uvloop = find_spec("uvloop") is not None
    try:
        return anyio.run(_main, files, home, grace, standby, talk, backend="asyncio", backend_options={"use_uvloop": has_uvloop})
    except (AshoreError, StoreError, BadPattern) as error:
        talk.line(f"ashore serve: {error}")
        return exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def exit_code(error: Exception) -> int:
    """What the shell is told about an error that ended the daemon."""
    if isinstance(error, TargetError):
        return NOT_FOUND
    if isinstance(error, Corrupt):
        return FAILED
    is_later_no_better = isinstance(error, ReadOnly | NewerFormat)
    return TRANSIENT if isinstance(error, ServedAlready | StoreError) and not is_later_no_better else USAGE


async def _main(files: Sequence[str], home: str | None, grace: float, standby: bool, talk: Talk) -> int:
    with _first_of_group():
        return await serve(files, home, grace=grace, standby=standby, talk=talk)


async def serve(
    files: Sequence[str], home: str | None = None, *, grace: float = GRACE, standby: bool = False, talk: Talk | None = None
) -> int:
    """Serve the pipelines of these files that have a trigger, until a signal; returns the exit code.

    `standby`: while another daemon serves one of them, wait until it is gone, in whatever way, and take over then.
    Raises `TargetError` for a file that cannot be loaded, `ServedAlready`, `BadPattern`, and what makes a home unusable.
    """
    pipelines = load_triggered(files)
    stack = await open_stack(home=home)
    talk = talk or Talk()
    try:
        holder = await _claim(stack, pipelines)
        if holder is not None and not standby:
            raise ServedAlready(_served_already(holder, stack.home.path), mend="Stop that daemon first, or serve another --home")
        told = None if holder is None else await _stand_by(stack, pipelines, holder, talk)
        return await _serve(stack, pipelines, grace, talk) if told is None else told
    finally:
        with anyio.CancelScope(shield=True):
            await stack.aclose()


def load_triggered(files: Sequence[str]) -> list[Pipeline[Any, Any]]:
    """The pipelines of these files that have a trigger. Raises `TargetError`, `NothingToServe`."""
    found: dict[str, Pipeline[Any, Any]] = {}
    for file in files:
        pipelines = [pipeline for pipeline in load_file(file) if pipeline.options.on is not None]
        if not pipelines:
            raise NothingToServe(f"{file} has no pipeline with a trigger", mend='Write @pipeline(on=new("inbox/*.csv"))')
        for pipeline in pipelines:
            if pipeline.name in found:
                first, second = found[pipeline.name].file, pipeline.file
                raise NothingToServe(f"two pipelines are called {pipeline.name}, in {first} and in {second}", mend="Rename one")
            found[pipeline.name] = pipeline
    return list(found.values())


async def _claim(stack: Stack, pipelines: Sequence[Pipeline[Any, Any]]) -> Holder | None:
    """Serve these from now on; or who serves one of them."""
    me = who_am_i(await stack.log.own(), stack.ports.disk.process(), stack.ports.clock.now())
    targets = [(pipeline.name, target_of(pipeline, stack.home.root)) for pipeline in pipelines]
    return await claim_serving(stack.log, me, targets)


async def _stand_by(stack: Stack, pipelines: Sequence[Pipeline[Any, Any]], holder: Holder, talk: Talk) -> int | None:
    """Wait until nobody else serves them, and claim them; or the exit code, if told to stop before."""

    async def wait() -> None:
        other: Holder | None = holder
        while other is not None:
            talk.standing_by(_served_already(other, stack.home.path))
            await stack.log.wait_gone(other.owner)
            other = await _claim(stack, pipelines)
        talk.line("taking over: who served them is gone")

    async with anyio.create_task_group() as group:
        signals = Signals()
        await group.start(signals.heed)
        await signals.until_told(wait)
        group.cancel_scope.cancel()
    return signals.code


def _served_already(holder: Holder, home: str) -> str:
    since = datetime.fromtimestamp(holder.since, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{holder.pipeline} is served already in {home}, by process {holder.pid} on {holder.host} since {since}"


async def _serve(stack: Stack, pipelines: Sequence[Pipeline[Any, Any]], grace: float, talk: Talk) -> int:
    with anyio.CancelScope() as scope:
        async with Runtime(stack, resume=pipelines, executor="process", grace=grace) as runtime:
            async with anyio.create_task_group() as group:
                daemon = Daemon(runtime, pipelines, group, talk)
                signals = Signals()
                await group.start(signals.heed)
                await signals.until_told(daemon.serve)
                talk.stopping(len(daemon.left), grace)
                await _within(stack.ports.clock, grace, daemon.settle)
                group.cancel_scope.cancel()
            for run in daemon.left:
                talk.left(run.id, run.pipeline)
            scope.cancel()  # the runtime is left where it stands: leaving it in peace would wait for its runs
            await anyio.lowlevel.checkpoint()
    return signals.code if signals.code is not None else FAILED


class Signals:
    """The first one ends what is under `until_told`, the second one the process."""

    def __init__(self) -> None:
        self.code: int | None = None
        """The exit code, once told to stop."""
        self._scope = anyio.CancelScope()

    async def heed(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for number in received:
                if self.code is not None:
                    os._exit(128 + number)
                self.code = INTERRUPTED if number == signal.SIGINT else DONE
                self._scope.cancel()

    async def until_told(self, work: Callable[[], Awaitable[None]]) -> None:
        with self._scope:
            await work()


async def _within(clock: Clock, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`, for so long at most."""
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await clock.sleep(seconds)
            group.cancel_scope.cancel()

        group.start_soon(stop)
        await work()
        group.cancel_scope.cancel()


@contextmanager
def _first_of_group() -> Iterator[None]:
    """What comes out of task groups, as the one error that it began with."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
