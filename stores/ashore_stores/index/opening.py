"""Which index a place can have."""

from __future__ import annotations

from ashore_stores.errors import Full, ReadOnly
from ashore_stores.index.base import MetadataIndex
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.index.sqlite import SqliteIndex
from ashore_stores.ports import Disk, Randomness


def open_index(disk: Disk, random: Randomness, folder: str, version: int) -> MetadataIndex:
    """The index in `folder`; where nothing can be written, one in memory, which is made from the log each time."""
    try:
        disk.make_folder(folder)
        disk.open(f"{folder}/probe", write=True, create=True).close()
        disk.remove(f"{folder}/probe")
    except (Full, ReadOnly):
        return MemoryIndex()
    return SqliteIndex(disk, random, folder, version)
