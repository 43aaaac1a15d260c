"""What a disk holds: files and folders as programs see them, and what of that a power cut leaves. Pure, but for a seeded choice.

The rules are those of POSIX and no kinder, so that they are stricter than any real file system:

* written bytes are safe once their file was flushed; before that each 512-byte sector may hold what it held at the last flush or
  any version written since, and the size may be any size that the file had since. Sectors that were never written are zeros.
* a name (created, renamed, removed) is safe once its folder was flushed; before that each change happened or not, independent of
  the others and of all data. A rename is one change, which belongs to the folder of its target.
* a failed flush leaves some sectors written and forgets the rest: a later flush of the file succeeds and does not write them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


class Content:
    """One file's bytes: `data` as programs see them, `disk` as the medium holds them."""

    def __init__(self, inode: int, data: bytes = b"") -> None:
        self.inode = inode
        self.data = bytearray(data)
        self.disk = bytearray(data)
        self.mtime_ns = 0
        self._versions: dict[int, list[bytes]] = {}  # sector -> what it held since the last flush, oldest first
        self._sizes: list[int] = []  # sizes the file had since the last flush

    @property
    def is_dirty(self) -> bool:
        return bool(self._versions or self._sizes)

    def write(self, data: bytes, offset: int) -> None:
        start = min(offset, len(self.data))
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self._soil(start, offset + len(data))

    def truncate(self, size: int) -> None:
        old = len(self.data)
        if size < old:
            del self.data[size:]
        else:
            self.data.extend(bytes(size - old))
        self._soil(min(old, size), max(old, size) if size > old else size)
        self._sizes.append(size)

    def flush(self) -> None:
        """Make the medium hold what changed since the last flush."""
        self._resize_disk()
        for sector in self._versions:
            self._write_sector(sector)
        self._clean()

    def fail_flush(self, chance: random.Random, *, is_forgetful: bool = False) -> None:
        """A flush that failed: some sectors made it, the others are taken for clean from now on.

        A forgetful cache drops them besides, so that programs see what the medium holds.
        """
        if chance.random() < 0.5:
            self._resize_disk()
        for sector in sorted(self._versions):
            if chance.random() < 0.3:
                self._write_sector(sector)
        self._clean()
        if is_forgetful:
            size = len(self.data)
            self.data[:] = self.disk[:size].ljust(size, b"\0")

    def after_crash(self, chance: random.Random) -> bytes:
        """What the medium may hold when the power fails now."""
        if not self.is_dirty:
            return bytes(self.disk)
        manner = chance.choice((self._keep_nothing, self._keep_all, self._keep_prefix, self._keep_sectors, self._keep_sectors))
        return manner(chance)

    def damage(self, offset: int, mask: int) -> None:
        """Flip bits behind everybody's back."""
        self.data[offset] ^= mask
        if offset < len(self.disk):
            self.disk[offset] ^= mask

    def _keep_nothing(self, chance: random.Random) -> bytes:
        return bytes(self.disk)

    def _keep_all(self, chance: random.Random) -> bytes:
        return self._assemble(len(self.data), {sector: versions[-1] for sector, versions in self._versions.items()})

    def _keep_prefix(self, chance: random.Random) -> bytes:
        """The sectors up to some byte, which is also where a growing file ends."""
        size = chance.randint(min(len(self.disk), len(self.data)), max(len(self.disk), len(self.data)))
        end = chance.randint(0, size) if len(self.data) <= len(self.disk) else size
        return self._assemble(size, {sector: v[-1] for sector, v in self._versions.items() if sector * SECTOR < end})

    def _keep_sectors(self, chance: random.Random) -> bytes:
        """Any subset of the sectors, each in any of its versions."""
        kept: dict[int, bytes] = {}
        for sector, versions in sorted(self._versions.items()):
            pick = chance.randint(-len(versions), len(versions) - 1)
            if pick >= 0:
                kept[sector] = versions[pick]
        return self._assemble(chance.choice((len(self.disk), len(self.data), *self._sizes)), kept)

    def _assemble(self, size: int, sectors: dict[int, bytes]) -> bytes:
        held = bytearray(self.disk[:size])
        held.extend(bytes(size - len(held)))
        for sector, content in sectors.items():
            start = sector * SECTOR
            if start < size:
                held[start : start + SECTOR] = content[: size - start]
        return bytes(held)

    def _soil(self, start: int, end: int) -> None:
        for sector in range(start // SECTOR, -(-end // SECTOR)):
            content = bytes(self.data[sector * SECTOR : (sector + 1) * SECTOR])
            self._versions.setdefault(sector, []).append(content.ljust(SECTOR, b"\0"))
        self._sizes.append(len(self.data))

    def _resize_disk(self) -> None:
        del self.disk[len(self.data) :]
        self.disk.extend(bytes(len(self.data) - len(self.disk)))

    def _write_sector(self, sector: int) -> None:
        start, end = sector * SECTOR, min((sector + 1) * SECTOR, len(self.data), len(self.disk))
        if start < end:
            self.disk[start:end] = self.data[start:end]

    def _clean(self) -> None:
        self._versions.clear()
        self._sizes.clear()


class Folder:
    """A folder's names: `entries` as programs see them, `disk` as the medium holds them."""

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.entries: dict[str, Node] = {}
        self.disk: dict[str, Node] = {}


Node: TypeAlias = Content | Folder


@dataclass(eq=False, slots=True)
class NameChange:
    """One change of names that waits for the flush of `home`."""

    home: Folder
    put: tuple[str, Node] | None = None
    taken: list[tuple[Folder, str, Node]] = field(default_factory=list)

    def apply(self) -> None:
        """Do it on the medium; only what stands there under a taken name goes."""
        for folder, name, node in self.taken:
            if folder.disk.get(name) is node:
                del folder.disk[name]
        if self.put is not None:
            self.home.disk[self.put[0]] = self.put[1]


class Medium:
    """A tree of folders and files with its pending changes of names."""

    def __init__(self) -> None:
        self._inodes = 1
        self.root = Folder(1)
        self.pending: list[NameChange] = []

    def find(self, path: str) -> Node | None:
        node: Node | None = self.root
        for name in _parts(path):
            node = node.entries.get(name) if isinstance(node, Folder) else None
        return node

    def folder(self, path: str) -> Folder | None:
        node = self.find(path)
        return node if isinstance(node, Folder) else None

    def add_file(self, folder: Folder, name: str) -> Content:
        content = Content(self._next_inode())
        self._change(folder, put=(name, content))
        return content

    def add_folder(self, folder: Folder, name: str) -> Folder:
        made = Folder(self._next_inode())
        self._change(folder, put=(name, made))
        return made

    def remove(self, folder: Folder, name: str) -> None:
        node = folder.entries.pop(name)
        self.pending.append(NameChange(folder, taken=[(folder, name, node)]))

    def rename(self, source: tuple[Folder, str], target: tuple[Folder, str]) -> None:
        folder, name = source
        node = folder.entries.pop(name)
        target[0].entries[target[1]] = node
        self.pending.append(NameChange(target[0], put=(target[1], node), taken=[(folder, name, node)]))

    def flush_folder(self, folder: Folder) -> None:
        for change in [change for change in self.pending if change.home is folder]:
            change.apply()
            self.pending.remove(change)

    def files(self) -> Iterator[tuple[str, Content]]:
        """All files as programs see them, sorted by path."""
        yield from _files(self.root, "")

    def after_crash(self, chance: random.Random) -> Medium:
        """What a rebooted machine finds; this medium is not changed."""
        kept = {id(folder): dict(folder.disk) for folder in _folders(self)}
        share = chance.choice((0.0, 0.5, 0.5, 1.0))
        for change in self.pending:
            if chance.random() < share:
                _apply_to(kept, change)
        found = Medium()
        found._inodes = self._inodes
        found.root = _copy_folder(self.root, kept, chance)
        return found

    def _change(self, folder: Folder, put: tuple[str, Node]) -> None:
        folder.entries[put[0]] = put[1]
        self.pending.append(NameChange(folder, put=put))

    def _next_inode(self) -> int:
        self._inodes += 1
        return self._inodes


def split(path: str) -> tuple[str, str]:
    """A path's folder and its name."""
    folder, _, name = path.rstrip("/").rpartition("/")
    return folder or "/", name


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _files(folder: Folder, prefix: str) -> Iterator[tuple[str, Content]]:
    for name, node in sorted(folder.entries.items()):
        if isinstance(node, Folder):
            yield from _files(node, f"{prefix}/{name}")
        else:
            yield f"{prefix}/{name}", node


def _folders(medium: Medium) -> list[Folder]:
    """All folders that the medium or a pending change knows."""
    found: dict[int, Folder] = {}
    waiting: list[Node] = [medium.root, *(change.put[1] for change in medium.pending if change.put is not None)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Folder) and id(node) not in found:
            found[id(node)] = node
            waiting.extend([*node.disk.values(), *node.entries.values()])
    return list(found.values())


def _apply_to(kept: dict[int, dict[str, Node]], change: NameChange) -> None:
    for folder, name, node in change.taken:
        names = kept.get(id(folder), {})
        if names.get(name) is node:
            del names[name]
    if change.put is not None and id(change.home) in kept:
        kept[id(change.home)][change.put[0]] = change.put[1]


def _copy_folder(folder: Folder, kept: dict[int, dict[str, Node]], chance: random.Random) -> Folder:
    copy = Folder(folder.inode)
    for name, node in sorted(kept[id(folder)].items()):
        copy.entries[name] = _copy_node(node, kept, chance)
    copy.disk = dict(copy.entries)
    return copy


def _copy_node(node: Node, kept: dict[int, dict[str, Node]], chance: random.Random) -> Node:
    if isinstance(node, Folder):
        return _copy_folder(node, kept, chance)
    content = Content(node.inode, node.after_crash(chance))
    content.mtime_ns = node.mtime_ns
    return content
