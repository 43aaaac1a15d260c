"""Owners: who runs something. Each is a locked empty file; the kernel lets go of the lock when its process ends, in any way."""

from __future__ import annotations

from ashore_stores.errors import Conflict, Missing, Unavailable
from ashore_stores.ports import Disk, DiskFile, Randomness

ID_SIZE = 8
_SLOT = 0


class Owners:
    """The owners of a home, as seen by one process, which is at most one of them.

    The file of an owner of this process is never opened twice: closing the second handle would drop the lock.
    """

    def __init__(self, disk: Disk, random: Randomness, folder: str) -> None:
        self._disk = disk
        self._random = random
        self._folder = folder
        self._file: DiskFile | None = None
        self.own_id: bytes | None = None

    def own(self) -> bytes:
        """This process's owner id; the first call takes its lock. Nobody knows the id before it is locked."""
        if self.own_id is None:
            owner = self._random.token(ID_SIZE)
            file = self._disk.open(self._path(owner), write=True, create=True, exclusive=True)
            if not file.lock(_SLOT, wait=False):
                file.close()
                raise Unavailable(f"{file.path}: the lock of a new owner is held already; try again")
            self._file, self.own_id = file, owner
        return self.own_id

    def is_alive(self, owner: bytes) -> bool:
        if owner == self.own_id:
            return True
        try:
            file = self._disk.open(self._path(owner), write=True)
        except Missing:
            return False
        try:
            return file.is_locked_elsewhere(_SLOT)
        finally:
            file.close()

    def wait_gone(self, owner: bytes) -> None:
        """Block until nobody has that owner's lock: the kernel gives it to us when its process ends, and we let go at once."""
        if owner == self.own_id:
            raise Conflict("this process waits for its own end")
        try:
            file = self._disk.open(self._path(owner), write=True)
        except Missing:
            return
        try:
            file.lock(_SLOT, wait=True)
        finally:
            file.close()

    def forget(self, owner: bytes) -> None:
        """Remove the file of a dead owner that nothing refers to."""
        self._disk.remove(self._path(owner))

    def let_go(self) -> None:
        """End this process's owner in an orderly way: observers find it dead."""
        if self._file is not None and self.own_id is not None:
            file, self._file = self._file, None
            self._disk.remove(self._path(self.own_id))
            file.close()

    def _path(self, owner: bytes) -> str:
        return f"{self._folder}/{owner.hex()}"
