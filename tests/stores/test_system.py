"""The real ports on the real machine: what the stores rely on, tried with real processes where processes matter."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import current_token

from ashore_stores.errors import Closed, Conflict, Full, Missing, ReadOnly, StoreError, Unavailable
from ashore_stores.ports import Change, DiskFile, Ports, Watch
from ashore_stores.system import SystemDisk, SystemWatcher, ThreadWorkers, system_ports
from ashore_stores.system.disk import translated

STORES = str(Path(__file__).parents[2] / "stores")
DISK = SystemDisk()

LOCKER = """
import sys
from ashore_stores.system import SystemDisk
file = SystemDisk().open(sys.argv[1], write=True, create=True)
print(file.lock(int(sys.argv[2]), wait=False), flush=True)
sys.stdin.readline()
"""


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": STORES}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def opened(path: Path, data: bytes = b"") -> DiskFile:
    file = DISK.open(str(path), write=True, create=True)
    if data:
        file.write(data, 0)
    return file


# Files


def test_what_is_written_at_an_offset_is_read_there(tmp_path: Path) -> None:
    file = opened(tmp_path / "f", b"hello world")
    file.write(memoryview(b"--WORLD--")[2:7], 6)
    assert (file.read(100, 6), file.read(3, 0), file.size()) == (b"WORLD", b"hel", 11)
    file.truncate(5)
    file.flush()
    assert file.read(100, 0) == b"hello"
    file.close()
    file.close()
    with pytest.raises(Closed, match="was closed"):
        file.read(1, 0)


def test_a_mapped_file_is_a_read_only_view_that_outlives_its_handle(tmp_path: Path) -> None:
    file = opened(tmp_path / "f", b"abc")
    view = file.map()
    file.close()
    assert view.readonly
    assert bytes(view) == b"abc"
    assert bytes(opened(tmp_path / "empty").map()) == b""


def test_new_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    DISK.make_folder(str(tmp_path / "a" / "b"))
    DISK.make_folder(str(tmp_path / "a" / "b"))
    opened(tmp_path / "a" / "b" / "f")
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "f")]
    assert modes == [0o700, 0o700, 0o600]


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \n%")
    opened(tmp_path / name, b"x").close()
    assert DISK.names(str(tmp_path)) == [name]
    found = DISK.stat(str(tmp_path / name))
    assert found is not None
    assert (found.kind, found.size) == ("file", 1)
    DISK.rename(str(tmp_path / name), str(tmp_path / "b"))
    DISK.flush_folder(str(tmp_path))
    assert DISK.names(str(tmp_path)) == ["b"]


def test_a_look_does_not_follow_links_and_never_blocks_on_a_fifo(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    kinds = {name: found.kind for name in DISK.names(str(tmp_path)) if (found := DISK.stat(str(tmp_path / name)))}
    assert kinds == {"link": "link", "fifo": "other"}
    for path in (tmp_path / "fifo", tmp_path / "link", tmp_path):
        with pytest.raises(Missing):
            DISK.open(str(path))
        with pytest.raises(Missing):
            DISK.open(str(path), write=True)


@pytest.mark.parametrize("name", ["absent", "absent/below", "n" * 300, "nul\0", "half\ud800", "file/below"])
def test_what_cannot_be_there_is_absent(tmp_path: Path, name: str) -> None:
    opened(tmp_path / "file")
    path = f"{tmp_path}/{name}"
    assert DISK.stat(path) is None
    assert DISK.names(path) == []
    with pytest.raises(Missing, match="cannot open"):
        DISK.open(path)
    with pytest.raises(Missing):
        DISK.flush_folder(path)


def test_errors_say_what_the_caller_can_do(tmp_path: Path) -> None:
    opened(tmp_path / "f")
    with pytest.raises(Conflict, match="exists already"):
        DISK.open(str(tmp_path / "f"), write=True, exclusive=True)
    with pytest.raises(Conflict):
        DISK.make_folder(str(tmp_path / "f"))
    with pytest.raises(Missing):
        DISK.rename(str(tmp_path / "absent"), str(tmp_path / "g"))
    DISK.remove(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EROFS, ReadOnly), (errno.EACCES, ReadOnly), (errno.ENOSPC, Full), (errno.EDQUOT, Full), (errno.EIO, Unavailable)],
)
def test_what_the_caller_can_do_is_in_the_class(number: int, kind: type[StoreError]) -> None:
    error = translated(OSError(number, os.strerror(number)), "write", "/home/x")
    assert type(error) is kind
    assert str(error).startswith(f"cannot write '/home/x': {os.strerror(number)}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ReadOnly, match="what is there stays readable"):
        opened(tmp_path / "f")


def test_a_write_past_the_limit_is_full(tmp_path: Path) -> None:
    file = opened(tmp_path / "f")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(Full, match="free some room"):
            file.write(bytes(5000), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write(bytes(5000), 0)
    assert file.size() == 5000


def test_this_folder_is_not_on_a_network(tmp_path: Path) -> None:
    assert not DISK.is_network(str(tmp_path / "not yet there"))


# Record locks


def test_a_record_lock_excludes_other_processes_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    mine = opened(path)
    with child(LOCKER, str(path), "3") as other:
        assert line(other) == "True"
        assert mine.is_locked_elsewhere(3)
        assert not mine.is_locked_elsewhere(2)
        assert not mine.lock(3, wait=False)
        assert mine.lock(2, wait=False)
        with child(LOCKER, str(path), "2") as third:
            assert line(third) == "False"
        mine.unlock(2)
        with child(LOCKER, str(path), "2") as third:
            assert line(third) == "True"


def test_the_kernel_releases_the_lock_of_a_killed_process_and_not_of_a_stopped_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    mine = opened(path)
    with child(LOCKER, str(path), "0") as other:
        assert line(other) == "True"
        os.kill(other.pid, signal.SIGSTOP)
        assert mine.is_locked_elsewhere(0)
        os.kill(other.pid, signal.SIGKILL)
        assert mine.lock(0, wait=True)
        assert not mine.is_locked_elsewhere(0), "one's own lock is not elsewhere"


def test_a_forked_child_owns_nothing_of_what_it_inherits(tmp_path: Path) -> None:
    """In a process of its own: a fork of the test runner would run the test runner's exit."""
    with child(FORKER, str(tmp_path / "lock")) as process:
        assert line(process) == "read Closed, lock Closed, close fine, afresh False, pool 42"
        assert line(process) == "parent True"


FORKER = """
import asyncio, os, sys
from ashore_stores.errors import StoreError
from ashore_stores.system import SystemDisk, system_ports
disk, workers = SystemDisk(), system_ports().workers

def outcome(call, *arguments, **named):
    try:
        return call(*arguments, **named) or "fine"
    except StoreError as error:
        return type(error).__name__

file = disk.open(sys.argv[1], write=True, create=True)
file.lock(0, wait=False)
asyncio.run(workers.run(len, "warm"))
mine, process = disk.process(), os.fork()
if process == 0:
    assert disk.process() != mine
    said = [f"read {outcome(file.read, 1, 0)}", f"lock {outcome(file.lock, 0, wait=False)}", f"close {outcome(file.close)}"]
    afresh = disk.open(sys.argv[1], write=True)
    said.append(f"afresh {afresh.lock(0, wait=False)}")
    said.append(f"pool {asyncio.run(workers.run(lambda: 42))}")
    print(", ".join(said), flush=True)
    os._exit(0)
os.waitpid(process, 0)
print("parent", file.lock(0, wait=False), flush=True)
"""


# Threads


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class Answer:
    """Where the news of one piece of work lands."""

    def __init__(self) -> None:
        self.is_there = anyio.Event()
        self.thread = 0

    def __call__(self, result: object, error: BaseException | None) -> None:
        self.result, self.error, self.thread = result, error, threading.get_ident()
        self.is_there.set()


@pytest.fixture
def workers() -> ThreadWorkers:
    return ThreadWorkers(bound=3)


@pytest.mark.anyio
async def test_work_runs_off_the_loop_and_news_comes_on_it(workers: ThreadWorkers) -> None:
    here = threading.get_ident()
    assert await workers.run(threading.get_ident) != here
    assert await workers.run(divmod, 7, 2) == (3, 1)
    answer = Answer()
    workers.submit(threading.get_ident, answer)
    await answer.is_there.wait()
    assert answer.result != here
    assert answer.thread == here


def leave() -> None:
    raise SystemExit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def divide() -> None:
    _ = 1 / 0


@pytest.mark.anyio
@pytest.mark.parametrize(("work", "kind"), [(leave, SystemExit), (interrupt, KeyboardInterrupt), (divide, ZeroDivisionError)])
async def test_whatever_work_raises_reaches_who_asked(
    workers: ThreadWorkers, work: Callable[[], None], kind: type[BaseException]
) -> None:
    answer = Answer()
    workers.submit(work, answer)
    await answer.is_there.wait()
    assert answer.result is None
    assert type(answer.error) is kind
    assert await workers.run(len, "alive") == 5


@pytest.mark.anyio
async def test_an_exception_of_run_is_raised_with_its_traceback(workers: ThreadWorkers) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        await workers.run(divide)
    assert "1 / 0" in str(caught.traceback[-1])


@pytest.mark.anyio
async def test_every_callback_comes_once(workers: ThreadWorkers) -> None:
    seen: list[int | None] = []
    is_done = anyio.Event()

    def done(result: int | None, error: BaseException | None) -> None:
        seen.append(result)
        if len(seen) == 500:
            is_done.set()

    for number in range(500):
        workers.submit(partial(int, number), done)
    await is_done.wait()
    assert sorted(number for number in seen if number is not None) == list(range(500))
    assert "3 of 3 threads, 0 unfinished" in repr(workers)


def test_a_callback_that_raises_takes_no_other_one_with_it() -> None:
    reported: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        post = system_ports().workers.poster()
        is_done = asyncio.Event()
        for callback in (divide, divide, is_done.set):
            post(callback)
        async with asyncio.timeout(60):
            await is_done.wait()

    asyncio.run(main())
    assert [type(error) for error in reported] == [ZeroDivisionError] * 2


@pytest.mark.anyio
async def test_one_thread_keeps_the_order_of_the_work_and_of_the_news() -> None:
    alone = ThreadWorkers(bound=1)
    worked: list[int] = []
    told: list[int] = []
    is_done = anyio.Event()

    def work(number: int) -> int:
        worked.append(number)
        return number

    for number in range(100):
        alone.submit(partial(work, number), lambda number, _: told.append(-1 if number is None else number))
    alone.submit(lambda: None, lambda *_: is_done.set())
    await is_done.wait()
    assert worked == told == list(range(100))


@pytest.mark.anyio
async def test_long_steps_never_keep_the_stores_waiting(workers: ThreadWorkers) -> None:
    gate = threading.Event()
    is_done = anyio.Event()
    for _ in range(10):
        workers.submit(gate.wait, lambda *_: is_done.set())
    assert await workers.run(len, "store") == 5
    gate.set()
    await is_done.wait()


@pytest.mark.anyio
async def test_cancelling_waits_for_nothing_and_drops_the_result(workers: ThreadWorkers) -> None:
    gate = threading.Event()
    ended = threading.Event()

    def work() -> None:
        gate.wait()
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(workers.run, work)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert not ended.is_set()
    gate.set()
    assert await workers.run(ended.wait, 60.0)


@pytest.mark.anyio
async def test_a_poster_brings_callbacks_home_from_any_thread(workers: ThreadWorkers) -> None:
    post = workers.poster()
    native = current_token().native_token
    seen: list[object] = []
    is_done = anyio.Event()

    def here(number: int) -> None:
        seen.append((number, current_token().native_token is native))
        if number == 99:
            is_done.set()

    def work() -> None:
        for number in range(100):
            post(partial(here, number))

    await workers.run(work)
    await is_done.wait()
    assert seen == [(number, True) for number in range(100)]


def test_what_is_posted_to_a_closed_loop_is_dropped() -> None:
    posts: list[Callable[[Callable[[], None]], None]] = []

    async def take() -> None:
        posts.append(system_ports().workers.poster())

    anyio.run(take)
    posts[0](lambda: pytest.fail("nobody is there"))


def test_an_abandoned_step_does_not_keep_the_process_alive() -> None:
    with child(ABANDON) as process:
        assert line(process) == "leaving"
        assert process.wait(60) == 0


ABANDON = """
import anyio, threading
from ashore_stores.system import system_ports

async def main():
    ports = system_ports()
    ports.workers.submit(threading.Event().wait, lambda *_: None)
    ports.workers.servant(threading.Event().wait, "stuck").ring()
    print("leaving", flush=True)

anyio.run(main)
"""


def test_a_servant_serves_every_ring_and_once_more_before_it_ends(workers: ThreadWorkers) -> None:
    rounds: list[str] = []
    is_inside, go_on = threading.Event(), threading.Event()

    def work() -> None:
        rounds.append(threading.current_thread().name)
        is_inside.set()
        assert go_on.wait(60)

    servant = workers.servant(work, "log")
    servant.ring()
    assert is_inside.wait(60)
    for _ in range(5):
        servant.ring()
    go_on.set()
    servant.close()
    assert rounds == ["ashore-log"] * 2
    servant.ring()
    servant.close()
    assert len(rounds) == 2


# Watches


@pytest.fixture
def ports() -> Ports:
    return system_ports()


async def until(watch: Watch, wanted: Change) -> list[Change]:
    seen: list[Change] = []
    with anyio.fail_after(60):
        while wanted not in seen:
            seen.extend(await watch.changes())
    return seen


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
async def test_the_watcher_tells_what_is_complete(tmp_path: Path, ports: Ports) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    odd = os.fsdecode(b"b\xe9 \n.csv")
    async with ports.watcher.watch(str(inbox)) as watch:
        with (inbox / "a.csv").open("w") as growing:
            growing.write("1")
            growing.flush()
            assert Change("a.csv", True) not in await until(watch, Change("a.csv", False))
        await until(watch, Change("a.csv", True))
        (tmp_path / "x").write_text("2")
        (tmp_path / "x").rename(inbox / odd)
        assert await until(watch, Change(odd, True)) == [Change(odd, True)]
        (inbox / odd).unlink()
        await until(watch, Change(odd, False))
        (inbox / "a.csv").unlink()
        inbox.rmdir()
        await until(watch, Change("", False))


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
async def test_a_watched_file_tells_of_writes_by_other_handles(tmp_path: Path, ports: Ports) -> None:
    file = opened(tmp_path / "f")
    async with ports.watcher.watch(str(tmp_path / "f")) as watch:
        file.write(b"1", 0)
        await until(watch, Change("", False))
        with anyio.move_on_after(0):
            await watch.changes()
        file.write(b"2", 1)
        await until(watch, Change("", False))


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
async def test_more_hints_than_one_look_takes_all_come(tmp_path: Path, ports: Ports) -> None:
    names = {f"{number}.csv" for number in range(1500)}
    async with ports.watcher.watch(str(tmp_path)) as watch:
        for name in names:
            (tmp_path / name).write_bytes(b"")
        complete: set[str] = set()
        with anyio.fail_after(60):
            while complete != names:
                complete |= {change.name for change in await watch.changes() if change.complete}


@pytest.mark.anyio
async def test_watching_nothing_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="cannot watch"):
        async with SystemWatcher().watch(str(tmp_path / "absent")):
            pytest.fail("there is nothing to watch")


@pytest.mark.anyio
async def test_the_clock_and_the_randomness(ports: Ports) -> None:
    before = ports.clock.monotonic()
    await ports.clock.sleep(0.001)
    assert ports.clock.monotonic() > before
    assert ports.clock.now() > 1.7e9
    assert len({ports.random.token(16) for _ in range(100)}) == 100
