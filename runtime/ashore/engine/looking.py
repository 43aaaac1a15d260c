"""Looking at files: size, time and content digest, read again only if they changed."""

from __future__ import annotations

import hashlib
from typing import Any

from ashore.errors import FileChanged
from ashore.files import File
from ashore_stores.errors import Missing, Unavailable
from ashore_stores.ports import Disk, FileStat

_SLAB = 4 * 1024 * 1024
_SEEN = 100_000
"""Files whose digests are kept in memory."""


class Looker:
    """Takes files as they are now. Blocking: for a worker thread."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._root = root
        self._seen: dict[tuple[str, int, int, int], bytes] = {}

    def move(self, root: str) -> None:
        """From now on, relative paths are looked for there."""
        self._root = root

    def look(self, file: File) -> File:
        """`file` with its size, time and digest as of now. Raises `Missing`, `Unavailable` if it changed while it was read."""
        if file.digest:
            return file
        path = self._place(file)
        stat = self._disk.stat(path)
        if stat is None or stat.kind not in ("file", "link"):
            raise Missing(f"no file {file.path!r} (looked in {self._root}): a File names a regular file that is there")
        digest = self._digest(path, stat)
        if self._disk.stat(path) != stat:
            raise Unavailable(
                f"{file.path!r} changed while it was read: it is still being written; start again when it is complete"
            )
        return File(file.path, size=stat.size, mtime_ns=stat.mtime_ns, digest=digest)

    def check(self, file: File) -> None:
        """Raise `Missing` if the file is gone, `FileChanged` if its content is not what it was when it was looked at.

        Each process reads a file once itself before it trusts size and time: they may be those of bytes that a power cut took.
        """
        path = self._place(file)
        stat = self._disk.stat(path)
        if stat is None:
            raise Missing(f"{file.path!r} was removed after it had been looked at: put it back, or run again without it")
        if self._digest(path, stat) != file.digest:
            raise FileChanged(
                f"{file.path!r} was changed after it had been looked at: its new content is another version; run again with it"
            )

    def _place(self, file: File) -> str:
        return file.path if file.path.startswith("/") else f"{self._root}/{file.path}"

    def _digest(self, path: str, stat: FileStat) -> bytes:
        """Of the file as `stat` says it is: read once per process."""
        seen = (path, stat.size, stat.mtime_ns, stat.inode)
        digest = self._seen.get(seen)
        if digest is None:
            digest = self._seen[seen] = self._read(path)
            if len(self._seen) > _SEEN:
                del self._seen[next(iter(self._seen))]
        return digest

    def _read(self, path: str) -> bytes:
        hasher = hashlib.sha256()
        source = self._disk.open(path)
        try:
            offset = 0
            while slab := source.read(_SLAB, offset):
                hasher.update(slab)
                offset += len(slab)
        finally:
            source.close()
        return hasher.digest()

    def settle(self, value: Any) -> Any:
        """`value` with every file in it looked at and made durable; itself if there is none."""
        kind = type(value)
        if kind is File:
            return value if value.digest else self._kept(value)
        if kind is list or kind is tuple:
            items = [self.settle(item) for item in value]
            return kind(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if kind is dict:
            settled = {key: self.settle(item) for key, item in value.items()}
            return settled if any(settled[key] is not value[key] for key in value) else value
        return value

    def _kept(self, file: File) -> File:
        """A file that a step returns: flushed, with its folder, before any event names it."""
        looked = self.look(file)
        path = self._place(file)
        handle = self._disk.open(path)
        try:
            handle.flush()
        finally:
            handle.close()
        self._disk.flush_folder(path.rpartition("/")[0] or "/")
        return looked


def holds_new_files(value: Any) -> bool:
    """Whether there is a file in this value that nobody has looked at. Never waits."""
    kind = type(value)
    if kind is File:
        return not value.digest
    if kind is list or kind is tuple:
        return any(holds_new_files(item) for item in value)
    if kind is dict:
        return any(holds_new_files(item) for item in value.values())
    return False
