"""The small ports through which the world comes in: clock, randomness, disk, workers, watcher.

Nothing else in the product reads a clock, draws a random number, starts a thread or opens a file, so that the whole runtime
can be run by a seed (`ashore_stores.testing`). The real ones are in `ashore_stores.system`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, TypeVarTuple

from ashore_stores.keys import Buffer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Clock(Protocol):
    """Time. Wall time annotates, monotonic time measures; neither ever orders anything."""

    def now(self) -> float:
        """Wall time, seconds since the epoch. May jump; for people to read."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait. A cancelled sleep leaves nothing behind."""
        ...


class Randomness(Protocol):
    """Where ids come from."""

    def token(self, size: int) -> bytes:
        """`size` random bytes, never equal to earlier ones in practice."""
        ...


FileKind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True, slots=True)
class FileStat:
    """What a look at a path tells. Links are not followed."""

    kind: FileKind
    size: int
    mtime_ns: int
    inode: int


class DiskFile(Protocol):
    """An open file. Every call blocks: call it on a worker thread or where a few microseconds do not matter.

    Raises the errors of `ashore_stores.errors` (`Full`, `ReadOnly`, `Unavailable`), never a bare `OSError`.
    """

    @property
    def path(self) -> str: ...

    def size(self) -> int: ...

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        ...

    def write(self, data: Buffer, offset: int) -> None:
        """All of `data` at `offset`, or an error; a short write is continued, what an error leaves there is undefined."""
        ...

    def truncate(self, size: int) -> None: ...

    def flush(self) -> None:
        """Make what was written to this file survive a power cut. After an error the state is unknown: never flush again."""
        ...

    def map(self) -> memoryview:
        """The whole file, read-only, without a copy. Only for files that no one changes any more."""
        ...

    def lock(self, slot: int, *, wait: bool) -> bool:
        """Take the kernel record lock on byte `slot` against other processes; False if held elsewhere and not `wait`.

        Released by `unlock`, `close`, or the end of the process, however it ends. Not inherited by a forked child. A lock file
        must be opened once per process: closing any other handle of it would drop the lock.
        """
        ...

    def unlock(self, slot: int) -> None: ...

    def is_locked_elsewhere(self, slot: int) -> bool:
        """Whether another process holds the lock on byte `slot`."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """Files by absolute path. A created or renamed entry survives a power cut only after `flush_folder` of its folder."""

    def real_path(self, path: str) -> str:
        """The one name of this place: absolute, without links. Two paths to one folder give the same."""
        ...

    def process(self) -> int:
        """The number of this process. It is another one in a forked child, whose inherited files raise `Closed`."""
        ...

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        """Open a regular file; raises `Missing` if absent and not `create`, `Conflict` if `exclusive` and present. Mode 0600."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Atomically put `source` in the place of `target`."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens if it is gone already."""
        ...

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it (mode 0700); present ones are fine."""
        ...

    def flush_folder(self, path: str) -> None: ...

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty if there is no such folder."""
        ...

    def stat(self, path: str) -> FileStat | None: ...

    def is_network(self, path: str) -> bool:
        """Whether the path lies on a file system that is known not to keep record locks over machines."""
        ...


class Servant(Protocol):
    """Work that is done again, off the loop, each time it is rung for."""

    def ring(self) -> None:
        """Have the work done soon. Rings while it runs lead to one more round. From any thread."""
        ...

    def close(self) -> None:
        """Finish the round under way, do one last round if rung for, and end."""
        ...


class Workers(Protocol):
    """Where blocking work runs, in a copy of the context it was given in.

    What is given by `submit` (steps, which may take hours) never holds up what is given by `run` (the stores' work).
    """

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run blocking `work` off the loop. Cancelling waits for nothing: the work ends by itself and its result is dropped."""
        ...

    def submit(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """As `run`, by callback: `done(result, error)` is called on the loop that submitted."""
        ...

    def servant(self, work: Callable[[], None], name: str) -> Servant:
        """A servant of its own for `work`."""
        ...

    def poster(self) -> Callable[[Callable[[], None]], None]:
        """A way back: `post(callback)` runs the callback on the current loop, from any thread; nothing once that loop is closed."""
        ...


class Child(Protocol):
    """A process of ours with a channel of messages. It leads a process group of its own, which ends with it."""

    @property
    def pid(self) -> int: ...

    def send(self, message: bytes) -> None:
        """Put a message into the channel; what does not fit at once follows. Nothing if the child is gone."""
        ...

    def dismiss(self) -> None:
        """No message will follow: its channel says so, and it may end."""
        ...

    def hear(self) -> None:
        """Hand on, now, what it has written to its standard output and error and is still on the way."""
        ...

    def signal(self, name: str) -> None:
        """Send a signal ("SIGTERM", "SIGKILL") to its group. Nothing if it has ended."""
        ...

    async def silent(self) -> None:
        """Wait until its channel is closed: it has ended or is about to. All its messages were delivered."""
        ...

    async def ended(self) -> int:
        """Wait for its end: the exit code, or minus the number of the signal that ended it. Nothing of its group is left then."""
        ...


class Ears(Protocol):
    """Who listens to a child. All of it is called on the loop that started it."""

    def deliver(self, message: bytes) -> None:
        """A message came."""
        ...

    def hear(self, descriptor: int, data: bytes) -> None:
        """It wrote to its standard output (1) or error (2)."""
        ...


class Nursery(Protocol):
    """Where child processes come from: a process that was started clean, has no threads, and forks quickly."""

    async def start(self, entry: str, environ: Mapping[str, str], ears: Ears) -> Child:
        """A new child, which calls `entry`, "package.module:function", with its end of the channel, a descriptor.

        Raises `Unavailable`.
        """
        ...

    async def ended(self) -> None:
        """Wait until no child can be started here any more. Its children have ended then, too."""
        ...


class Children(Protocol):
    """How processes are started."""

    def nursery(self, preload: Sequence[str]) -> AbstractAsyncContextManager[Nursery]:
        """A nursery whose children have these modules imported. When it is left, its children are killed, and nothing remains."""
        ...


class Watcher(Protocol):
    """Hints that something changed. The scan is the truth: a hint may be missing, doubled or late."""

    def watch(self, path: str) -> AbstractAsyncContextManager[Watch]:
        """Watch one file, or the entries of one folder."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """A hint: `complete` if the entry was closed after writing or renamed into place; name "" means "anything: look"."""

    name: str
    complete: bool


class Watch(Protocol):
    async def changes(self) -> Sequence[Change]:
        """Wait for the next hints."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them, as one value that is handed down."""

    clock: Clock
    random: Randomness
    disk: Disk
    workers: Workers
    watcher: Watcher
    children: Children | None = None
    """None: no process can be started (a simulation)."""
