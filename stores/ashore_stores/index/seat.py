"""The projector's seat: one in all tasks, threads and processes of a home, by a record lock on a file that is never removed."""

from __future__ import annotations

from typing import Final

from ashore_stores.errors import ReadOnly
from ashore_stores.ports import Disk, DiskFile

_SLOT: Final = 0

_files: Final[dict[tuple[int, str], DiskFile]] = {}
"""The lock files this process has open, by process and real path: opened once, never closed (closing any would drop the lock)."""

_holders: Final[dict[tuple[int, str], object]] = {}
"""Who in this process has the seat: record locks do not keep its own tasks apart."""


class Seat:
    """The right to project into one index."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = disk.real_path(path)
        self.was_there = False
        """Whether somebody had sat here before it was taken last: the file is never removed."""

    def _key(self) -> tuple[int, str]:
        return self._disk.process(), self._path

    def take(self) -> bool:
        """Whether it is ours now. False if anybody has it, and where nothing can be written."""
        key, token = self._key(), object()
        if _holders.setdefault(key, token) is not token:
            return False
        taken = False
        self.was_there = key in _files or self._disk.stat(self._path) is not None
        try:
            taken = self._file(key).lock(_SLOT, wait=False)
        except ReadOnly:
            return False
        finally:
            if not taken:
                del _holders[key]
        return taken

    def leave(self) -> None:
        """Give it back. Only for who has it."""
        key = self._key()
        self._file(key).unlock(_SLOT)
        del _holders[key]

    def _file(self, key: tuple[int, str]) -> DiskFile:
        file = _files.get(key)
        if file is None:
            file = _files[key] = self._disk.open(self._path, write=True, create=True)
        return file
