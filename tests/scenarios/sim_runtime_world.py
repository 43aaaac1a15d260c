"""What the simulation of the runtime stands on: whole lives or violations, a machine with a project, and damage to its home."""

from __future__ import annotations

import os
import random
import sys
import sysconfig
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.scenarios.graphs_outside import outside
from tests.scenarios.graphs_process import Told
from tests.scenarios.sim_runtime_life import HOME, Life, open_here, read_all, told_of_run
from tests.scenarios.sim_stores_history import Violation

import ashore
import ashore_stores
from ashore import driving
from ashore.engine import values
from ashore.errors import AshoreError
from ashore.ids import RunId
from ashore.runtime import Runtime
from ashore_stores.errors import StoreError
from ashore_stores.logs import segment
from ashore_stores.logs.segments import LogSettings
from ashore_stores.testing.disk import Faults, SimDisk
from ashore_stores.testing.loop import Deadlock, Runaway, simulate
from ashore_stores.testing.world import sim_ports

T = TypeVar("T")


def whole(main: Callable[[], Coroutine[Any, Any, T]], seed: int, *, has_faults: bool = False) -> T | None:
    """Run it; whatever comes out that is not a cut is a violation. None: a store with faults refused."""
    try:
        return simulate(main, seed)
    except (Deadlock, Runaway) as error:
        raise Violation("I9", str(error)) from error
    except Violation:
        raise
    except Exception as error:
        found = list(_leaves(error))
        violation = next((leaf for leaf in found if isinstance(leaf, Violation)), None)
        if violation is not None:
            raise violation from error
        if has_faults and all(isinstance(leaf, StoreError) for leaf in found):
            return None
        raise Violation("error", "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in found)) from error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, AshoreError):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def forget_process() -> None:
    """What the product remembers of a process ends with it."""
    driving._driven_here.clear()
    values._checked.clear()
    segment._open_cores.clear()


def new_machine(seed: int, faults: Faults) -> SimDisk:
    """A machine with an empty project."""
    disk = SimDisk(seed, faults, name="p")
    medium = disk.machine.medium
    above = medium.root
    for name in ("home", "p", "inbox"):
        folder = medium.add_folder(above, name)
        medium.flush_folder(above)
        above = folder
    return disk


@contextmanager
def listening(lines: list[str]) -> Iterator[None]:
    """What steps write outside goes into `lines`; and what is recorded of a process (its command, its folders) is that of any."""
    command, folders = sys.argv, sys.path
    outside.into(lines)
    sys.argv, sys.path = ["simulation"], _folders()
    try:
        yield
    finally:
        outside.into(None)
        sys.argv, sys.path = command, folders


def _folders() -> list[str]:
    """Where modules are found, however Python was started: the simulated process looks into each for what is installed."""
    standard = sysconfig.get_path("stdlib")
    ours = [os.path.dirname(os.path.dirname(os.path.abspath(str(package.__file__)))) for package in (ashore, ashore_stores)]
    return [standard, f"{standard}/lib-dynload", sysconfig.get_path("purelib"), *ours]


def damaged(seed: int, settings: LogSettings, disk: SimDisk, last: Life) -> None:
    """One bit of the home flips while nobody runs: whoever asks gets the truth or a typed error (I16)."""
    chance = random.Random(f"flip-{seed}")
    disk = disk.after_crash(seed)
    tree = disk.tree()
    path = chance.choice([path for path, content in tree.items() if content and path.startswith(HOME)])
    at = chance.randrange(len(tree[path]))
    disk.damage(path, at, 1 << chance.randrange(8))
    forget_process()
    try:
        whole(lambda: _read_damaged(disk, settings, last), seed)
    except Violation as violation:
        raise Violation("I16", f"bit flipped at {at} of {len(tree[path])} in {path}: {violation}") from violation


async def _read_damaged(disk: SimDisk, settings: LogSettings, last: Life) -> None:
    try:
        stack = await open_here(sim_ports(1, disk=disk), settings)
        async with Runtime(stack) as runtime:
            for run, told in last.told.items():
                await _ask_damaged(runtime, run, told)
        frames = await read_all(stack)
        await stack.aclose()
    except (StoreError, AshoreError):
        return
    if [frame.batch.body for frame in frames[: len(last.frames)]] != [frame.batch.body for frame in last.frames]:
        raise Violation("I16", f"read as {len(frames)} frames of {len(last.frames)}, without an error")


async def _ask_damaged(runtime: Runtime, run: RunId, told: Told) -> None:
    try:
        said = await told_of_run(await runtime.run(run))
    except (StoreError, AshoreError):
        return
    if said != told:
        raise Violation("I16", f"run {run} is told as {said}, not as {told}")
