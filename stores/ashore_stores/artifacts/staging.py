"""Where blobs are written before they have a name.

Layout of the folder, all of it derived and free to be removed while no process writes::

    <owner>.lock      empty, locked by the living process that is `owner` (random hex digits)
    <owner>-<n>       a draft of that owner

A process that opens the folder removes the drafts of owners whose lock the kernel has released, and only those: neither age nor
process number says that somebody is dead.
"""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Final
from weakref import WeakKeyDictionary

from ashore_stores.artifacts.base import Blob
from ashore_stores.errors import Closed, Conflict, Missing, StoreError, Unavailable
from ashore_stores.keys import Buffer, Digest
from ashore_stores.ports import Disk, DiskFile, FileStat, Ports

SLAB: Final = 1 << 20
"""Bytes that are gathered before they are hashed and written."""

OWNER_BYTES: Final = 8
LOCK: Final = ".lock"

_ours: WeakKeyDictionary[Disk, set[str]] = WeakKeyDictionary()
"""This process's owners: opening and closing one's own lock file would drop the lock."""


class Withdrawn(Exception):
    """Nobody waits for this draft any more."""


class Permit:
    """The right to give a draft its name: either the writer takes it, or who cancels does; never both."""

    def __init__(self) -> None:
        self._right = [True]

    def take(self) -> bool:
        try:
            return self._right.pop()  # atomic
        except IndexError:
            return False

    def require(self) -> None:
        if not self._right:
            raise Withdrawn


class Draft:
    """A blob in the making: a `Sink` that hashes what it writes, in slabs."""

    def __init__(self, disk: Disk, file: DiskFile, permit: Permit) -> None:
        self._disk = disk
        self._file: DiskFile | None = file
        self._path = file.path
        self._permit = permit
        self._hasher = hashlib.sha256()
        self._gathered = bytearray()
        self._size = 0

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        size = view.nbytes
        if size < SLAB:
            self._gathered += view
            if len(self._gathered) >= SLAB:
                self._empty()
        else:
            self._empty()
            flat = view.cast("B")
            for start in range(0, size, SLAB):
                self._write(flat[start : start + SLAB])
        return size

    def finish(self) -> Blob:
        self._empty()
        return Blob(Digest(f"sha256-{self._hasher.hexdigest()}"), self._size)

    def flush(self) -> None:
        self._opened().flush()

    def publish(self, path: str) -> FileStat:
        """Give it its name, unless nobody waits for it any more. Tells how the file looks."""
        self._opened().close()
        found = self._disk.stat(self._path)
        if not self._permit.take():
            raise Withdrawn
        try:
            self._disk.rename(self._path, path)
        except Missing as error:
            raise Unavailable(f"cannot name {path!r}: a folder was removed while the store was open; try again") from error
        self._file = None
        assert found is not None, "it could be renamed"
        return found

    def discard(self) -> None:
        """Leave nothing behind. What cannot be removed now is collected later."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            try:
                self._disk.remove(self._path)
            except StoreError:
                return

    def _opened(self) -> DiskFile:
        if self._file is None:
            raise Closed(f"the draft {self._path!r} is finished: a sink takes nothing after its `produce` has returned")
        return self._file

    def _empty(self) -> None:
        if self._gathered:
            self._write(self._gathered)
            self._gathered = bytearray()

    def _write(self, slab: Buffer) -> None:
        self._permit.require()
        self._hasher.update(slab)
        self._opened().write(slab, self._size)
        self._size += len(slab)


class Staging:
    """The drafts of this process in one folder. Opened by the first draft, so that a folder that is only read is left alone."""

    def __init__(self, folder: str, ports: Ports) -> None:
        self._folder = folder
        self._ports = ports
        self._disk = ports.disk
        self._desk: dict[str, Desk] = {}  # at most one, set once by whichever thread comes first
        self._process = ports.disk.process()

    def draft(self, permit: Permit) -> Draft:
        if self._disk.process() != self._process:
            raise Closed(f"{self._folder!r} was opened before this process was forked: open the store again in the child")
        desk = self._desk.get("") or self._open()
        return desk.draft(permit)

    def close(self) -> None:
        desk = self._desk.pop("", None)
        if desk is not None and self._disk.process() == self._process:
            desk.close()

    def _open(self) -> Desk:
        self._disk.make_folder(self._folder)
        mine = Desk(self._folder, self._ports)
        desk = self._desk.setdefault("", mine)
        if desk is not mine:
            mine.close()
        else:
            _collect(self._folder, self._disk)
        return desk


class Desk:
    """One owner: its lock and its drafts."""

    def __init__(self, folder: str, ports: Ports) -> None:
        self._disk = ports.disk
        while True:
            owner = ports.random.token(OWNER_BYTES).hex()
            self._path = f"{folder}/{owner}"
            try:
                self._lock = self._disk.open(self._path + LOCK, write=True, create=True, exclusive=True)
            except Conflict:
                continue
            _ours.setdefault(self._disk, set()).add(owner)
            self._lock.lock(0, wait=True)
            if self._disk.stat(self._path + LOCK) is not None:
                break
            self._lock.close()  # somebody collected it between its creation and its lock
        self._numbers = count(1)

    def draft(self, permit: Permit) -> Draft:
        try:
            file = self._disk.open(f"{self._path}-{next(self._numbers)}", write=True, create=True, exclusive=True)
        except Missing as error:
            raise Unavailable(f"the folder of {self._path!r} was removed while the store was open: open it again") from error
        return Draft(self._disk, file, permit)

    def close(self) -> None:
        """Sign off. A draft still being written may then be collected by another process, and its `put` fails."""
        try:
            self._disk.remove(self._path + LOCK)
        finally:
            self._lock.close()


def _collect(folder: str, disk: Disk) -> None:
    """Remove what dead owners left. Drafts first: their lock is what marks them as dead should this be interrupted."""
    names = disk.names(folder)
    for owner in sorted({_owner_of(name) for name in names} - _ours.get(disk, set())):
        drafts = [f"{folder}/{name}" for name in names if _owner_of(name) == owner and not name.endswith(LOCK)]
        try:
            lock = disk.open(f"{folder}/{owner}{LOCK}", write=True)
        except Missing:
            # made after its lock, which is gone: signed off, collected by another, or lost by a power cut
            _remove(disk, drafts)
            continue
        try:
            if lock.lock(0, wait=False):
                _remove(disk, [*drafts, lock.path])
        finally:
            lock.close()


def _owner_of(name: str) -> str:
    return name.removesuffix(LOCK).partition("-")[0]


def _remove(disk: Disk, paths: list[str]) -> None:
    for path in paths:
        disk.remove(path)
