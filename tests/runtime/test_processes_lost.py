"""Steps that end their process, or would never end: each costs one attempt, and nothing of it is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from ashore import Handle, RunFailed, Runtime, StepError, StepTimeout, WorkerLost, each, pipeline, step
from ashore.executors.pool import Pool

pytestmark = pytest.mark.anyio

CRASHES = int(os.environ.get("ASHORE_CRASHES", "12"))
MEMORY = 200 * 1024 * 1024


@pytest.fixture
async def rt(home: Path) -> AsyncIterator[Runtime]:
    async with Runtime(home=home, grace=4.0, processes=2) as runtime:
        yield runtime


def pool_of(runtime: Runtime) -> Pool:
    pool = runtime.means.processes
    assert isinstance(pool, Pool)
    return pool


@step(process=True)
def good(n: int) -> int:
    return n * n


@step(process=True)
def crashing(n: int) -> int:
    return int(ctypes.string_at(0)[0])


@step(process=True)
def killed(n: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return n


@step(process=True)
def leaving(n: int) -> int:
    print("about to leave", file=sys.stderr)
    os._exit(3)


@step(process=True)
def exiting(n: int) -> int:
    sys.exit(4)


@step(process=True)
def interrupting(n: int) -> int:
    raise KeyboardInterrupt


@step(process=True)
def aborting(n: int) -> int:
    os.abort()


@step(memory="200MB")
def hungry(n: int) -> int:
    return len(bytearray(n))


@step(timeout="300ms")
def hanging(n: int) -> int:
    while True:
        time.sleep(0.01)


@step(process=True)
def stubborn(folder: str) -> int:
    """Neither asked to end nor by SIGTERM it ends, and it has a child that does not either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, 1); print(1, flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
    )
    assert sleeper.stdout is not None
    sleeper.stdout.readline()
    say(folder, os.getpid(), sleeper.pid)
    while True:
        try:
            time.sleep(600)
        except BaseException:  # noqa: BLE001  # as a careless step does
            continue


def say(folder: str, *pids: int) -> None:
    partial = Path(folder, "pids.part")
    partial.write_text(" ".join(map(str, pids)))
    partial.rename(Path(folder, "pids"))


async def said(folder: Path) -> list[int]:
    await until((folder / "pids").exists)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


@step(timeout="300ms")
def tidy(folder: str) -> int:
    try:
        time.sleep(600)
    finally:
        Path(folder, "tidied").write_text("yes")
    return 0


ENDINGS: dict[str, tuple[Any, type[Exception], str]] = {
    "segfault": (crashing, WorkerLost, r"the worker was killed by signal 11 \(SIGSEGV\) while it ran crashing"),
    "SIGKILL": (killed, WorkerLost, r"the worker was killed by signal 9 \(SIGKILL\) while it ran killed.*out of memory"),
    "os._exit": (leaving, WorkerLost, r"the worker ended with exit code 3 while it ran leaving"),
    "abort": (aborting, WorkerLost, r"the worker was killed by signal 6 \(SIGABRT\) while it ran aborting"),
    "sys.exit": (exiting, StepError, r"the step raised SystemExit\(4\)"),
    "interrupt": (interrupting, StepError, r"the step raised KeyboardInterrupt\(\)"),
    "hang": (hanging, StepTimeout, r"hanging was ended after 300ms"),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_end_of_a_process_is_a_failed_attempt(rt: Runtime, ending: str) -> None:
    bad, kind, message = ENDINGS[ending]
    with pytest.raises(kind, match=message) as caught:
        await bad(1)
    assert f"in step {bad.name}(n=1) of run" in "".join(caught.value.__notes__)
    assert await good(3) == 9


async def test_a_crash_shows_where(rt: Runtime) -> None:
    with pytest.raises(WorkerLost) as caught:
        await crashing(1)
    notes = "".join(caught.value.__notes__)
    assert "Segmentation fault" in notes
    assert "in crashing" in notes


async def test_the_last_words_are_kept(rt: Runtime) -> None:
    with pytest.raises(WorkerLost) as caught:
        await leaving(1)
    assert "about to leave" in "".join(caught.value.__notes__)


async def test_memory_is_limited_for_one_attempt(rt: Runtime) -> None:
    with pytest.raises(MemoryError):
        await hungry(400 * 10**6)
    assert await hungry(50 * 10**6) == 50 * 10**6
    assert await good(2) == 4


async def test_other_steps_go_on(rt: Runtime) -> None:
    @pipeline
    def both() -> list[Handle[int]]:
        return [good(5), crashing(1), good(6)]

    run = await rt.start(both())
    with pytest.raises(RunFailed) as caught:
        await run
    assert [type(failure) for failure in caught.value.failures] == [WorkerLost]
    assert (run.counts()["done"], run.counts()["failed"]) == (2, 1)


async def test_one_that_does_not_end_is_killed_with_its_children(home: Path, tmp_path: Path) -> None:
    async with Runtime(home=home, grace=0.5) as rt:
        run = await rt.start(stubborn(str(tmp_path)))
        pids = await said(tmp_path)
        await run.cancel()
        await until(lambda: not any(map(is_alive, pids)))
        await until(lambda: run.state == "cancelled")
        assert await good(2) == 4


async def test_one_that_is_told_to_end_can_tidy_up(rt: Runtime, tmp_path: Path) -> None:
    with pytest.raises(StepTimeout):
        await tidy(str(tmp_path))
    assert (tmp_path / "tidied").read_text() == "yes"


async def test_a_cancelled_run_ends_its_processes(rt: Runtime, tmp_path: Path) -> None:
    run = await rt.start(waiting(str(tmp_path)))
    pids = await said(tmp_path)
    await run.cancel()
    await until(lambda: run.state == "cancelled")
    await until(lambda: not any(map(is_alive, pids)))
    assert await good(2) == 4


@step(process=True)
def waiting(folder: str) -> int:
    say(folder, os.getpid())
    time.sleep(600)
    return 0


async def test_nothing_is_left_behind(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good ones and bad ones at once: the good ones finish, and afterwards there are as many of everything as before."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    bads = [crashing, leaving, killed, hungry, hanging]
    async with Runtime(home=home, grace=2.0) as rt:
        await good(0)
        before = counts(home)
        async with anyio.create_task_group() as group:
            for n in range(CRASHES):
                bad: Any = bads[n % len(bads)]
                group.start_soon(expect_failure, bad, 400 * 10**6 + n)
            squares = [n * n for n in range(CRASHES)]
            assert await (await rt.start(many(CRASHES))) == squares
        await until(lambda: counts(home)[0] <= before[0] + 1)
        assert counts(home)[1] <= before[1] + 3 + 1  # one more worker: its channel, its outputs, a mapped blob
        workers = [*pool_of(rt).pids, *children_of(os.getpid())]
    assert not any(map(is_alive, workers))
    assert os.listdir(tmp_path) == [home.name]
    assert os.listdir(home / "artifacts" / "tmp") == [] if (home / "artifacts" / "tmp").exists() else True


@pipeline
def many(count: int) -> Handle[list[int]]:
    return collected(good(each(list(range(count)))))


@step
def collected(values: list[int]) -> list[int]:
    return values


async def expect_failure(bad: Any, n: int) -> None:
    with pytest.raises((WorkerLost, StepTimeout, MemoryError)):
        await bad(n)


def counts(home: Path) -> tuple[int, int]:
    """Processes that we started and theirs, and descriptors of ours."""
    return len(children_of(os.getpid())), len(os.listdir("/proc/self/fd"))


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            direct = [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue
        for child in direct:
            found += [child, *children_of(child)] if is_alive(child) else [child]
    return found


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one until somebody asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.01)


async def test_leaving_by_an_exception_ends_what_runs(home: Path, tmp_path: Path) -> None:
    async def left() -> None:
        async with Runtime(home=home, grace=1.0) as rt:
            await rt.start(waiting(str(tmp_path)))
            await said(tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await left()
    assert not any(map(is_alive, await said(tmp_path)))


async def test_the_death_of_the_forking_process_costs_what_runs_and_no_more(rt: Runtime, tmp_path: Path) -> None:
    assert await good(2) == 4
    run = await rt.start(waiting(str(tmp_path)))
    (worker,) = await said(tmp_path)
    os.kill(parent_of(worker), signal.SIGKILL)
    with pytest.raises(RunFailed):
        await run
    await until(lambda: not is_alive(worker))
    assert await good(3) == 9


def test_the_death_of_the_runtime_ends_its_workers(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, ashore\n"
        "from tests.runtime.test_processes_lost import waiting\n"
        "if __name__ == '__main__':\n"
        "    ashore.run(waiting(sys.argv[1]))\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "ASHORE_HOME": str(tmp_path / ".ashore")}
    process = subprocess.Popen([sys.executable, str(program), str(tmp_path)], env=environ)
    try:
        wait_until((tmp_path / "pids").exists)
        family = children_of(process.pid)
        assert int((tmp_path / "pids").read_text()) in family
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(is_alive, family)))


def wait_until(condition: Any) -> None:
    pause, end = threading.Event(), time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.01)
