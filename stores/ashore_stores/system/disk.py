"""This machine's files.

* Every `OSError` is translated here, once, with ``from``; a path that no file can have counts as absent.
* Names are text with surrogate escapes, so that names that are not UTF-8 survive a round trip.
* Record locks are POSIX ones (`fcntl`): owned by the process, gone with it however it ends, and dropped when *any* handle of the
  file is closed in the process. Open a lock file once per process. They do not exclude threads of one process from one another.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import struct
import sys
from typing import Final
from weakref import WeakSet

from ashore_stores.errors import Closed, Conflict, Full, Missing, ReadOnly, StoreError, Unavailable
from ashore_stores.keys import Buffer
from ashore_stores.ports import DiskFile, FileKind, FileStat
from ashore_stores.system.process import generation

FLOCK: Final = "qqihh" if sys.platform == "darwin" else "hhqqi4x"

ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
MAPPED_BOUND: Final = 256
# 9p and virtiofs are left out on purpose: they are what a container or a guest sees of its own host's disk
NETWORK_KINDS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "davfs"}
    | {f"fuse.{name}" for name in ("sshfs", "s3fs", "gcsfuse", "goofys", "rclone", "curlftpfs", "davfs2")}
)
KINDS: Final[dict[int, FileKind]] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def translated(error: OSError | ValueError, doing: str, path: str) -> StoreError:
    """What the caller can do about an error of the system. `ValueError` is a path that the system cannot even express."""
    if isinstance(error, ValueError) or error.errno in ABSENT:
        return Missing(f"cannot {doing} {path!r}: {_reason(error)}")
    if error.errno == errno.EEXIST:
        return Conflict(f"cannot {doing} {path!r}: it exists already")
    if error.errno in FULL:
        return Full(f"cannot {doing} {path!r}: {_reason(error)}; free some room, then go on")
    if error.errno in FORBIDDEN:
        return ReadOnly(f"cannot {doing} {path!r}: {_reason(error)}; what is there stays readable; mend the permission")
    return Unavailable(f"cannot {doing} {path!r}: {_reason(error)}")


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else f"no file can have this name ({error})"


def _flush(descriptor: int) -> None:
    """Down to the medium: on macOS plain fsync stops at the drive's cache."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


_mapped: WeakSet[mmap.mmap] = WeakSet()
"""Maps that keep a descriptor open (before Python 3.13 all do): so many, that further files are read instead."""


class SystemFile:
    """An open file, positioned reads and writes only, so that threads may share it."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._generation = generation.number

    def __repr__(self) -> str:
        return f"<SystemFile {self._path!r}{' closed' if self._descriptor < 0 else ''}>"

    def __del__(self) -> None:
        self.close()

    @property
    def path(self) -> str:
        return self._path

    def _fd(self) -> int:
        if self._generation != generation.number:
            raise Closed(f"{self._path!r} was opened before this process was forked: open the store again in the child")
        if self._descriptor < 0:
            raise Closed(f"{self._path!r} was closed")
        return self._descriptor

    def size(self) -> int:
        fd = self._fd()
        try:
            return os.fstat(fd).st_size
        except OSError as error:
            raise translated(error, "look at", self._path) from error

    def read(self, size: int, offset: int) -> bytes:
        fd = self._fd()
        try:
            data = os.pread(fd, size, offset)
            while 0 < len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise translated(error, "read", self._path) from error
        return data

    def write(self, data: Buffer, offset: int) -> None:
        fd = self._fd()
        try:
            written = os.pwrite(fd, data, offset)
            rest = memoryview(data).cast("B")[written:]
            while rest:
                offset += written
                written = os.pwrite(fd, rest, offset)
                rest = rest[written:]
        except OSError as error:
            raise translated(error, "write", self._path) from error

    def truncate(self, size: int) -> None:
        fd = self._fd()
        try:
            os.ftruncate(fd, size)
        except OSError as error:
            raise translated(error, "cut", self._path) from error

    def flush(self) -> None:
        fd = self._fd()
        try:
            _flush(fd)
        except OSError as error:
            raise translated(error, "flush", self._path) from error

    def map(self) -> memoryview:
        size = self.size()
        if size == 0:
            return memoryview(b"")
        if len(_mapped) >= MAPPED_BOUND:
            return memoryview(self.read(size, 0))
        fd = self._fd()
        try:
            if sys.version_info >= (3, 13):
                return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ, trackfd=False))
            mapped = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        except OSError as error:
            raise translated(error, "map", self._path) from error
        _mapped.add(mapped)
        return memoryview(mapped)

    def lock(self, slot: int, *, wait: bool) -> bool:
        fd = self._fd()
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot, os.SEEK_SET)
        except OSError as error:
            if not wait and error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise translated(error, "lock", self._path) from error
        return True

    def unlock(self, slot: int) -> None:
        fd = self._fd()
        try:
            fcntl.lockf(fd, fcntl.LOCK_UN, 1, slot, os.SEEK_SET)
        except OSError as error:
            raise translated(error, "unlock", self._path) from error

    def is_locked_elsewhere(self, slot: int) -> bool:
        fd = self._fd()
        try:  # F_GETLK asks without taking: it never sees, and never disturbs, this process's own locks
            answer = fcntl.fcntl(fd, fcntl.F_GETLK, _pack_lock(slot))
        except OSError as error:
            raise translated(error, "look at the lock of", self._path) from error
        return _lock_type(answer) != fcntl.F_UNLCK

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _pack_lock(slot: int) -> bytes:
    if sys.platform == "darwin":
        return struct.pack(FLOCK, slot, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
    return struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0)


def _lock_type(answer: bytes) -> int:
    fields: tuple[int, ...] = struct.unpack(FLOCK, answer)
    return fields[3] if sys.platform == "darwin" else fields[0]


class SystemDisk:
    """This machine's file systems."""

    def real_path(self, path: str) -> str:
        return os.path.realpath(path)

    def process(self) -> int:
        return os.getpid()

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        flags = os.O_RDWR if write else os.O_RDONLY
        flags |= os.O_CREAT if create or exclusive else 0
        flags |= os.O_EXCL if exclusive else 0
        try:  # O_NONBLOCK: a fifo that lies there must not hold up the caller; for regular files it means nothing
            descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
            file = SystemFile(path, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                file.close()
                raise Missing(f"cannot open {path!r}: it is not a regular file")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EISDIR, errno.ENXIO):
                raise Missing(f"cannot open {path!r}: it is not a regular file") from error
            raise translated(error, "open", path) from error
        return file

    def rename(self, source: str, target: str) -> None:
        try:
            os.replace(source, target)
        except (OSError, ValueError) as error:
            raise translated(error, f"rename {source!r} to", target) from error

    def remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise translated(error, "remove", path) from error

    def make_folder(self, path: str) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if parent not in ("", path):
            self.make_folder(parent)
        try:
            os.mkdir(path, 0o700)
        except (OSError, ValueError) as error:
            if not os.path.isdir(path):  # else somebody was faster
                raise translated(error, "make the folder", path) from error

    def flush_folder(self, path: str) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise translated(error, "flush the folder", path) from error

    def names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except (OSError, ValueError) as error:
            if isinstance(failure := translated(error, "list", path), Missing):
                return []
            raise failure from error

    def stat(self, path: str) -> FileStat | None:
        try:
            found = os.lstat(path)
        except (OSError, ValueError) as error:
            if isinstance(failure := translated(error, "look at", path), Missing):
                return None
            raise failure from error
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "other")
        return FileStat(kind, found.st_size, found.st_mtime_ns, found.st_ino)

    def is_network(self, path: str) -> bool:
        return _mount_kind(os.path.realpath(path)) in NETWORK_KINDS


def _mount_kind(path: str) -> str:
    """The kind of file system that `path` lies on; "" where the system does not tell."""
    lines = _mounts().splitlines()
    best, kind = "", ""
    for line in lines:
        fields, _, tail = line.partition(b" - ")
        point = os.fsdecode(fields.split(b" ")[4].decode("unicode_escape").encode("latin-1"))  # a space is written \040
        if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = point, os.fsdecode(tail.split(b" ")[0])
    return kind


def _mounts() -> bytes:
    try:
        descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as table:
        return table.read()
