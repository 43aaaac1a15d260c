"""A disk in memory that loses, tears and reorders what was not flushed, fails, fills up, and loses power at the k-th operation.

A `SimDisk` is one process's view of one machine's disk. Operations that change the disk or take a lock are counted and named;
`Faults` says at which of them something goes wrong. After a power cut (or a kill) every handle of that machine (or process)
raises `PowerCut`, so that the `finally` blocks of abandoned coroutines write nothing after death.
"""

from __future__ import annotations

import posixpath
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from ashore_stores.errors import Closed, Conflict, Full, Missing, ReadOnly, Unavailable
from ashore_stores.keys import Buffer
from ashore_stores.ports import DiskFile, FileStat
from ashore_stores.testing.media import Content, Folder, Medium, split

T = TypeVar("T")

FIRST_PROCESS = 100
"""The number of a machine's first process."""


class PowerCut(BaseException):
    """The machine lost power, or the process was killed: whatever still runs is not there any more."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and at which operation; operations and flushes are counted from 1."""

    crash_at: int | None = None
    """The power fails at this operation of the machine: before it, in the middle of it or just after it."""
    flush_error_at: int | None = None
    """This flush of a file fails with an I/O error, and what was to be flushed is forgotten."""
    is_forgetful: bool = False
    """Whether programs, too, no longer see what a failed flush was to write."""
    write_error_at: int | None = None
    """This write fails with an I/O error after a part of it."""
    room: int | None = None
    """So many more bytes fit on the disk."""
    short_writes: float = 0.0
    """The chance that a write takes two operations, between which the power may fail."""


Hint = Callable[[str, str], None]
"""Called with what happened ("created", "removed", "renamed", "written", "closed", "forgotten" by a failed flush) and the path."""


class Machine:
    """What all views of one disk share."""

    def __init__(self, seed: int, faults: Faults, medium: Medium | None = None, boot: int = 0) -> None:
        self.chance = random.Random(f"disk-{seed}")
        self.faults = faults
        self.medium = medium or Medium()
        self.boot = boot
        self.operations: list[str] = []
        self.room = faults.room
        self.flushes = 0
        self.writes = 0
        self.read_only = False
        self.is_on = True
        self.views: list[SimDisk] = []
        self.locks: dict[tuple[int, int], SimDisk] = {}
        self.hints: list[Hint] = []
        self.on_cut: list[Callable[[PowerCut], None]] = []
        self.time_ns: Callable[[], int] = lambda: len(self.operations)

    def cut(self, reason: str) -> PowerCut:
        """The power fails now."""
        error = PowerCut(reason)
        self.is_on = False
        self.locks.clear()
        for report in self.on_cut:
            report(error)
        return error

    def hint(self, what: str, path: str) -> None:
        for tell in list(self.hints):
            tell(what, path)

    def take_room(self, wanted: int) -> int:
        """How many of so many more bytes fit."""
        if self.room is None or wanted <= 0:
            return wanted
        taken = min(wanted, self.room)
        self.room -= taken
        return taken

    def give_room(self, size: int) -> None:
        if self.room is not None:
            self.room += size


class SimDisk:
    """One process's view of a simulated disk; `for_process` makes one for another process of the same machine."""

    def __init__(self, seed: int = 0, faults: Faults = Faults(), *, name: str = "p0", machine: Machine | None = None) -> None:
        self.name = name  # of the process, which dies at its `kill_at`-th operation, or just after the n-th of a kind
        self.machine = machine or Machine(seed, faults)
        self.kill_at: int | None = None
        self.kill_after: tuple[str, int] | None = None
        self._kinds: Counter[str] = Counter()
        self.operations = 0
        self.is_alive = True
        self.pause: Callable[[], None] = lambda: None
        self.wait_turn: Callable[[], None] = _cannot_wait
        self.on_death: Callable[[PowerCut], None] = lambda error: None
        self._number = FIRST_PROCESS + len(self.machine.views)
        self.machine.views.append(self)

    def __repr__(self) -> str:
        state = "alive" if self.is_alive and self.machine.is_on else "dead"
        return f"<SimDisk {self.name} {state}, {len(self.machine.operations)} operations>"

    # What a simulation does to it.

    def for_process(self, name: str) -> SimDisk:
        """The same disk as another process sees it: with locks of its own, which end with it."""
        return SimDisk(name=name, machine=self.machine)

    def kill(self, reason: str = "killed") -> PowerCut:
        """This process ends here; its locks are released, what it wrote stays in the page cache."""
        error = PowerCut(f"{self.name}: {reason}")
        self.is_alive = False
        self.drop_locks()
        self.on_death(error)
        return error

    def after_kill(self, name: str | None = None) -> SimDisk:
        """Kill this process; what the next one sees: all that was written, none of it more durable than it was."""
        if self.is_alive:
            self.kill()
        return self.for_process(name or f"{self.name}'")

    def after_crash(self, seed: int, faults: Faults = Faults()) -> SimDisk:
        """Cut the power, if it is on; what a rebooted machine finds, by this seed. Ask with other seeds for other outcomes."""
        if self.machine.is_on:
            self.machine.cut("power cut")
        chance = random.Random(f"crash-{seed}")
        machine = Machine(seed, faults, self.machine.medium.after_crash(chance), self.machine.boot + 1)
        return SimDisk(name=self.name, machine=machine)

    def set_faults(self, **changes: float | None) -> None:
        """Other faults from here on; numbers count from the machine's start."""
        self.machine.faults = replace(self.machine.faults, **changes)  # type: ignore[arg-type]
        if "room" in changes:
            self.machine.room = self.machine.faults.room

    def damage(self, path: str, offset: int, mask: int = 1) -> None:
        """Flip bits of a file, in the cache and on the medium."""
        node = self.machine.medium.find(path)
        if not isinstance(node, Content):
            raise Missing(f"no file {path}")
        node.damage(offset, mask)

    def tree(self) -> dict[str, bytes]:
        """All files and their bytes, as programs see them."""
        return {path: bytes(content.data) for path, content in self.machine.medium.files()}

    # The port.

    def real_path(self, path: str) -> str:
        return posixpath.normpath(path)

    def process(self) -> int:
        return self._number

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        self.look()
        folder, name = self._place(path)
        node = folder.entries.get(name)
        if isinstance(node, Folder):
            raise Missing(f"{path} is a folder, not a file")
        if node is not None and exclusive:
            raise Conflict(f"{path} is there already")
        if node is None and not create and not exclusive:
            raise Missing(f"no file {path}")
        if node is None:
            node = self.act("create", path, lambda: self.machine.medium.add_file(folder, name))
            self.machine.hint("created", path)
        return SimFile(self, path, node, writable=write)

    def rename(self, source: str, target: str) -> None:
        self.look()
        old, new = self._place(source), self._place(target)
        if old[1] not in old[0].entries:
            raise Missing(f"no file {source} to rename")
        replaced = new[0].entries.get(new[1])
        self.act("rename", f"{source} -> {target}", lambda: self.machine.medium.rename(old, new))
        self.machine.give_room(len(replaced.data) if isinstance(replaced, Content) else 0)
        self.machine.hint("removed", source)
        self.machine.hint("renamed", target)

    def remove(self, path: str) -> None:
        self.look()
        folder = self.machine.medium.folder(split(path)[0])
        name = split(path)[1]
        node = None if folder is None else folder.entries.get(name)
        if folder is None or not isinstance(node, Content):
            return
        self.act("remove", path, lambda: self.machine.medium.remove(folder, name))
        self.machine.give_room(len(node.data))
        self.machine.hint("removed", path)

    def make_folder(self, path: str) -> None:
        self.look()
        if self.machine.medium.folder(path) is not None:
            return
        above, name = split(path)
        if self.machine.medium.folder(above) is None:
            self.make_folder(above)
        folder = self.machine.medium.folder(above)
        if self.machine.medium.folder(path) is not None:  # another process was faster
            return
        if folder is None or name in folder.entries:
            raise Conflict(f"{path}: a file is in the way")
        self.act("make_folder", path, lambda: self.machine.medium.add_folder(folder, name))
        self.machine.hint("created", path)

    def flush_folder(self, path: str) -> None:
        self.look()
        folder = self.machine.medium.folder(path)
        if folder is None:
            raise Missing(f"no folder {path}")
        self.act("flush_folder", path, lambda: self.machine.medium.flush_folder(folder))

    def names(self, path: str) -> list[str]:
        self.look()
        folder = self.machine.medium.folder(path)
        return [] if folder is None else sorted(folder.entries)

    def stat(self, path: str) -> FileStat | None:
        self.look()
        node = self.machine.medium.find(path)
        if node is None:
            return None
        if isinstance(node, Folder):
            return FileStat("directory", 0, 0, node.inode)
        return FileStat("file", len(node.data), node.mtime_ns, node.inode)

    def is_network(self, path: str) -> bool:
        return False

    # What files and the simulation's own parts use.

    def look(self) -> None:
        """Every call comes through here: others may run first, and the dead do nothing."""
        self._refuse_if_dead()
        self.pause()
        self._refuse_if_dead()

    def act(self, what: str, path: str, deed: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        """Count one operation and do it, unless the power fails or the process dies there."""
        machine = self.machine
        if machine.read_only and what not in ("lock", "unlock"):
            raise ReadOnly(f"{path}: the file system is read-only; nothing was changed")
        machine.operations.append(f"{self.name}:{what} {path}")
        self.operations += 1
        self._kinds[what] += 1
        is_cut = len(machine.operations) == machine.faults.crash_at
        is_last = (what, self._kinds[what]) == self.kill_after
        if not (is_cut or is_last or self.operations == self.kill_at):
            return deed()
        moment = "after" if is_last else machine.chance.choice(("before", "within", "after"))
        if moment == "after":
            deed()
        elif moment == "within" and half is not None:
            half()
        reason = f"{moment} operation {len(machine.operations)}, {what} {path}"
        raise machine.cut(reason) if is_cut else self.kill(reason)

    def drop_locks(self, inode: int | None = None) -> None:
        """Let go of all locks of this process, on one file or on all."""
        locks = self.machine.locks
        for key in [key for key, holder in locks.items() if holder is self and inode in (None, key[0])]:
            del locks[key]

    def _refuse_if_dead(self) -> None:
        if not self.machine.is_on:
            raise PowerCut(f"{self.name}: the power is off")
        if not self.is_alive:
            raise PowerCut(f"{self.name}: killed")

    def _place(self, path: str) -> tuple[Folder, str]:
        above, name = split(path)
        folder = self.machine.medium.folder(above)
        if folder is None:
            raise Missing(f"no folder {above} for {path}; make it first")
        return folder, name


class SimFile:
    """An open file of a `SimDisk`."""

    def __init__(self, disk: SimDisk, path: str, content: Content, *, writable: bool) -> None:
        self._disk = disk
        self._path = path
        self._content = content
        self._writable = writable
        self._wrote = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<SimFile {self._path} of {self._disk.name}, {len(self._content.data)} bytes>"

    @property
    def path(self) -> str:
        return self._path

    def size(self) -> int:
        self._look()
        return len(self._content.data)

    def read(self, size: int, offset: int) -> bytes:
        self._look()
        return bytes(self._content.data[offset : offset + size])

    def write(self, data: Buffer, offset: int) -> None:
        self._look(write=True)
        rest = bytes(data)
        machine = self._disk.machine
        if len(rest) > 1 and machine.chance.random() < machine.faults.short_writes:
            part = machine.chance.randrange(1, len(rest))
            self._write_once(rest[:part], offset)
            rest, offset = rest[part:], offset + part
        self._write_once(rest, offset)

    def truncate(self, size: int) -> None:
        self._look(write=True)
        grown = size - len(self._content.data)
        if grown > 0 and self._disk.machine.take_room(grown) < grown:
            raise Full(f"no room to make {self._path} {size} bytes long")
        self._disk.act("truncate", f"{self._path} to {size}", lambda: self._content.truncate(size))
        self._disk.machine.give_room(max(0, -grown))
        self._touch()

    def flush(self) -> None:
        self._look()
        machine = self._disk.machine
        machine.flushes += 1
        if machine.flushes == machine.faults.flush_error_at:
            is_forgetful = machine.faults.is_forgetful
            self._disk.act(
                "flush", f"{self._path} (fails)", lambda: self._content.fail_flush(machine.chance, is_forgetful=is_forgetful)
            )
            machine.hint("forgotten", self._path)
            raise Unavailable(f"flush of {self._path} failed: input/output error; what was written may be lost")
        self._disk.act("flush", self._path, self._content.flush)

    def map(self) -> memoryview:
        self._look()
        return memoryview(bytes(self._content.data))

    def lock(self, slot: int, *, wait: bool) -> bool:
        self._look()
        key, locks = (self._content.inode, slot), self._disk.machine.locks
        while locks.get(key, self._disk) is not self._disk:
            if not wait:
                return False
            self._disk.wait_turn()
            self._look()
        if key not in locks:
            self._disk.act("lock", f"{self._path}[{slot}]", lambda: locks.__setitem__(key, self._disk))
        return True

    def unlock(self, slot: int) -> None:
        self._look()
        key = (self._content.inode, slot)
        if self._disk.machine.locks.get(key) is self._disk:
            self._disk.act("unlock", f"{self._path}[{slot}]", lambda: self._disk.machine.locks.pop(key))

    def is_locked_elsewhere(self, slot: int) -> bool:
        self._look()
        return self._disk.machine.locks.get((self._content.inode, slot), self._disk) is not self._disk

    def close(self) -> None:
        """Also drops all locks of this process on the file, whichever handle took them: so does POSIX."""
        if self._closed:
            return
        self._closed = True
        self._disk.look()
        self._disk.drop_locks(self._content.inode)
        if self._wrote:
            self._disk.machine.hint("closed", self._path)

    def _write_once(self, data: bytes, offset: int) -> None:
        machine = self._disk.machine
        end = offset + len(data)
        grown = max(0, end - len(self._content.data))
        missing = grown - machine.take_room(grown)
        machine.writes += 1
        fails = machine.writes == machine.faults.write_error_at
        done = data[: machine.chance.randrange(len(data))] if fails and data else data[: len(data) - missing]
        half = done[: machine.chance.randrange(len(done))] if done else done
        what = f"{self._path} {offset}+{len(data)}"
        self._disk.act("write", what, lambda: self._content.write(done, offset), lambda: self._content.write(half, offset))
        self._touch()
        if fails:
            raise Unavailable(f"write to {self._path} at {offset} failed: input/output error")
        if missing:
            raise Full(f"no room for {len(data)} bytes in {self._path} at {offset}")

    def _touch(self) -> None:
        self._wrote = True
        self._content.mtime_ns = self._disk.machine.time_ns()
        self._disk.machine.hint("written", self._path)

    def _look(self, *, write: bool = False) -> None:
        self._disk.look()
        if self._closed:
            raise Closed(f"{self._path} was closed")
        if write and not self._writable:
            raise ValueError(f"{self._path} was opened for reading only")


def _cannot_wait() -> None:
    raise RuntimeError(
        "a lock is held elsewhere and this simulation cannot wait inside of blocking work: use SimWorkers with preempt > 0"
    )
