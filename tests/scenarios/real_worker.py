"""One of several processes that run pipelines in one home, whose segments are small so that they are changed all the time.

    python -m tests.scenarios.real_worker asked HOME SEGMENT_BYTES
    python -m tests.scenarios.real_worker busy HOME SEGMENT_BYTES NAME FIRST LAST

Asked, it starts what the lines on its input say, and answers on its output; busy, it runs by itself, several at once, after it has
taken over what dead ones left, and tells every frame that it knows to be durable and every run whose end it awaited. Lines of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.to_thread
import structlog
from tests.scenarios.real_daemon import line_of

from ashore import Handle, Runtime, pipeline, step
from ashore.errors import KeyConflict
from ashore.events import HELD, RunSpace
from ashore.home import open_home
from ashore.stack import Stack
from ashore_stores import LocalArtifactStore, LogSettings, open_segment_log, system_ports

AT_ONCE = 3
"""So many runs are under way in a busy worker."""


@step
async def grow(number: int, size: int) -> str:
    return f"{number} ".ljust(size, ".")


@step
def measure(text: str) -> int:
    return int(text.split()[0]) + len(text)


@pipeline
def build(number: int, size: int) -> Handle[int]:
    return measure(grow(number, size))


def say(**told: object) -> None:
    os.write(1, f"{json.dumps(told)}\n".encode())  # whole, or not at all


@asynccontextmanager
async def opened(home: str, segment_bytes: int) -> AsyncIterator[Stack]:
    ports = system_ports()
    place = open_home(ports, home)
    log = await open_segment_log(place.log, ports, LogSettings(segment_bytes=segment_bytes))
    stack = Stack(place, ports, log, LocalArtifactStore(place.artifacts, ports))
    try:
        yield stack
    finally:
        with anyio.CancelScope(shield=True):
            await stack.aclose()


async def asked(home: str, segment_bytes: str) -> None:
    """Start what is asked for, one after the other, until the input ends."""
    async with opened(home, int(segment_bytes)) as stack, Runtime(stack) as runtime:
        say(ready=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            await answer(runtime, **json.loads(line))


async def answer(runtime: Runtime, key: str, number: int, size: int) -> None:
    try:
        run = await runtime.start(build(number, size), key=key)
    except KeyConflict as conflict:
        say(conflict=conflict.run)
        return
    say(started=run.id)
    say(done=await run, run=run.id)


async def busy(home: str, segment_bytes: str, name: str, first: str, last: str) -> None:
    """Run FIRST to LAST, and tell."""
    async with opened(home, int(segment_bytes)) as stack, anyio.create_task_group() as telling:
        telling.start_soon(tell_frames, stack)
        async with Runtime(stack, resume=[build]) as runtime:
            for topic in stack.log.registers(RunSpace.OPEN_RUNS):
                if stack.log.register(RunSpace.OPEN_RUNS, topic) == HELD:  # killed too often with nothing done in between
                    await runtime.resume(build, topic.decode())
            numbers = iter(range(int(first), int(last)))
            async with anyio.create_task_group() as working:
                for _ in range(AT_ONCE):
                    working.start_soon(work, runtime, name, numbers)
        telling.cancel_scope.cancel()


async def work(runtime: Runtime, name: str, numbers: Iterator[int]) -> None:
    for number in numbers:
        size = 40_000 if number % 3 == 0 else 200  # each third one makes a file of its own
        run = await runtime.start(build(number, size), key=f"{name}-{number}")
        say(run=run.id, done=await run, number=number)


async def tell_frames(stack: Stack) -> None:
    async for frame in stack.log.follow():
        os.write(1, f"{line_of(frame)}\n".encode())


def plant(bug: str) -> None:
    """Break the promise of the disk below this process: what it flushes there is not flushed."""
    flush = os.fdatasync

    def flush_others(descriptor: int) -> None:
        if f"/{bug}/" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            flush(descriptor)

    os.fdatasync = flush_others  # type: ignore[assignment]  # of a descriptor, as the product calls it


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if bug := os.environ.get("ASHORE_PLANTED_BUG"):
        plant(bug)
    mode, home, segment_bytes, *plan = sys.argv[1:]
    anyio.run(partial(busy, home, segment_bytes, *plan) if mode == "busy" else partial(asked, home, segment_bytes))
