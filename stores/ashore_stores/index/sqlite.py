"""The index as one SQLite file, read from any number of processes while one of them writes.

A file is called `index-<version of the projection>.<random>.sqlite`, complete from its first moment (made under another name,
then renamed) and never the successor of another of that name: a reader that still has a removed one open cannot mistake, or
disturb, the files beside the new one. Of several versions the newest counts; older code reads it and does not project.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio

from ashore_stores.errors import Closed, Conflict, Unavailable
from ashore_stores.index.base import Rows
from ashore_stores.index.changes import Change, Row, Table
from ashore_stores.index.seat import Seat
from ashore_stores.index.sql import queries
from ashore_stores.keys import Cursor, Position
from ashore_stores.ports import Disk, Randomness

if TYPE_CHECKING:
    from ashore_stores.index.connections import Connection

_FILE: Final = re.compile(r"index-(\d+)\.[0-9a-f]+\.sqlite")
_TOKEN_BYTES: Final = 6
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")
_CHECKED_BYTES: Final = 64 << 20
"""An index up to this size is checked whole before the first change in a process."""

_READ_CURSOR: Final = "select position, checksum from progress"
_MOVE_CURSOR: Final = "update progress set position = ?, checksum = ?"


class SqliteIndex:
    """A `MetadataIndex` in a folder. Belongs to the loop it is first used on; opens its files when they are needed."""

    def __init__(self, disk: Disk, random: Randomness, folder: str, version: int) -> None:
        self._disk = disk
        self._random = random
        self._folder = disk.real_path(folder)
        self._version = version
        self._seat = Seat(disk, f"{self._folder}.lock")
        self._queries = queries()
        self._turn = anyio.Lock()
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        path = self._newest()
        return f"<SqliteIndex {f'{self._folder}/{path}' if path else f'{self._folder} (empty)'}>"

    # --- which file ---

    def _versions(self) -> list[tuple[int, str]]:
        found = [(int(match[1]), name) for name in self._disk.names(self._folder) if (match := _FILE.fullmatch(name))]
        return sorted(found)

    def _newest(self) -> str | None:
        """The name of the file that counts: of the newest version, if that is ours or newer."""
        versions = self._versions()
        return versions[-1][1] if versions and versions[-1][0] >= self._version else None

    def take_seat(self) -> bool:
        versions = self._versions()
        if self._is_closed or (versions and versions[-1][0] > self._version):
            return False
        return self._seat.take()

    def leave_seat(self) -> None:
        self._seat.leave()

    def lost(self) -> str:
        if self._newest() is not None or not self._seat.was_there:
            return ""
        return "it was of another version of ashore" if self._versions() else "it was removed"

    # --- reading ---

    async def cursor(self) -> Cursor:
        rows = await self._read(_READ_CURSOR, (), ours=True)
        return _cursor(rows)

    async def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Rows:
        return await self._read(sql, params, ours=False)

    async def ask(self, name: str, params: Mapping[str, Any]) -> Rows:
        return await self._read(self._queries[name], params, ours=True)

    async def last(self, table: Table) -> int:
        rows = await self._read(f"select max({table.key[0]}) from {table.name}", (), ours=True)
        return rows.rows[0][0] or 0

    async def find(self, table: Table, by: tuple[str, ...], keys: Sequence[Row], columns: tuple[str, ...]) -> list[Row]:
        driver = _driver()
        found: list[Row] = []
        step = driver.VARIABLES // len(by)
        for start in range(0, len(keys), step):
            part = keys[start : start + step]
            sql = driver.finding(table, by, len(part), columns)
            found += (await self._read(sql, [value for key in part for value in key], ours=True)).rows
        return found

    async def _read(self, sql: str, params: Sequence[Any] | Mapping[str, Any], *, ours: bool) -> Rows:
        async with self._turn:
            self._check()
            name = self._newest()
            if self._reader is None or self._reader.name != name:
                await self._close_reader()
                self._reader = await _driver().open_reader(self._folder, name)
            return await self._reader.answer(sql, params, ours=ours)

    # --- writing ---

    async def apply(self, changes: Sequence[Change], *, after: Cursor, upto: Cursor) -> None:
        with anyio.CancelScope(shield=True):
            async with self._turn:
                self._check()
                db = await self._writable()
                try:
                    await db.execute("begin immediate")
                    stands = _cursor(await db.answer(_READ_CURSOR, (), ours=True))
                    if stands != after:
                        raise Conflict(
                            f"the index is at position {stands.position}, not at {after.position}: read its cursor again"
                        )
                    for change in changes:
                        await db.change(change)
                    await db.execute(_MOVE_CURSOR, (upto.position, str(upto.checksum)))
                    await db.execute("commit")
                except BaseException:
                    await db.roll_back()
                    raise

    async def _writable(self) -> Connection:
        name = self._newest()
        if name is None:
            name = await self._begin()
        if self._writer is None or self._writer.name != name:
            await self._close_writer()
            stat = self._disk.stat(f"{self._folder}/{name}")
            is_checked = stat is not None and stat.size <= _CHECKED_BYTES
            self._writer = await _driver().open_writer(self._folder, name, check=is_checked)
        return self._writer

    async def restart(self) -> None:
        with anyio.CancelScope(shield=True):
            async with self._turn:
                self._check()
                await self._begin()

    async def _begin(self) -> str:
        """A new, empty file in the place of all that are not of a newer version."""
        await self._close_writer()
        await self._close_reader()
        self._disk.make_folder(self._folder)
        former = [name for name in self._disk.names(self._folder) if name.startswith("index-")]
        name = f"index-{self._version}.{self._random.token(_TOKEN_BYTES).hex()}.sqlite"
        made = f"{name}.new"
        await _driver().create(self._folder, made)
        self._disk.rename(f"{self._folder}/{made}", f"{self._folder}/{name}")
        for old in former:
            self._disk.remove(f"{self._folder}/{old}")
        return name

    # --- the end ---

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            async with self._turn:
                self._is_closed = True
                await self._close_writer()
                await self._close_reader()

    async def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        await _close(writer)

    async def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        await _close(reader)

    def _check(self) -> None:
        if self._is_closed:
            raise Closed(f"the index in {self._folder!r} was closed")


async def _close(connection: Connection | None) -> None:
    if connection is not None:
        with suppress(Unavailable):
            await connection.close()


def _cursor(rows: Rows) -> Cursor:
    position, checksum = rows.rows[0]
    return Cursor(Position(position), int(checksum))


def _driver() -> Any:
    """SQLite's part, loaded when an index is first used."""
    from ashore_stores.index import connections  # noqa: PLC0415 - keeps `import ashore` light

    return connections
