"""Connections to the index's SQLite files. Loads `aiosqlite`: import it only where a file is used."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import aiosqlite
import anyio

from ashore_stores.errors import Corrupt
from ashore_stores.index.base import Rows
from ashore_stores.index.changes import Change
from ashore_stores.index.sql import schema
from ashore_stores.index.statements import VARIABLES as VARIABLES
from ashore_stores.index.statements import empty, lock, of, translated
from ashore_stores.index.statements import finding as finding

BUSY_SECONDS: Final = 2.0
"""So long a statement waits for another process's transaction."""

WRITER_PRAGMAS: Final = ("journal_mode = wal", "synchronous = normal", "cache_size = -65536", "temp_store = memory")


class Connection:
    """One connection: its thread, and errors in our words."""

    def __init__(self, db: aiosqlite.Connection, path: str, name: str | None) -> None:
        self._db = db
        self._path = path
        self.name = name
        """Of the file; None: there is no file yet, this is an empty index in memory."""

    async def answer(self, sql: str, params: Sequence[Any] | Mapping[str, Any], *, ours: bool) -> Rows:
        """What a statement answers. Cancelled, it is broken off. `ours`: not from outside, so that its errors are the file's."""
        try:
            async with self._db.execute(sql, params) as found:
                rows = await found.fetchall()
                return Rows(tuple([column[0] for column in found.description or ()]), list(map(tuple, rows)))
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise translated(error, self._path, "" if ours else sql) from error
        except anyio.get_cancelled_exc_class():
            await self._db.interrupt()
            raise

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Run a statement of ours that answers nothing."""
        try:
            async with self._db.execute(sql, params):
                pass
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def change(self, change: Change) -> None:
        """Make one change, within the transaction."""
        try:
            for sql, rows in of(change):
                async with self._db.executemany(sql, rows):
                    pass
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def roll_back(self) -> None:
        """Leave the transaction, if there is one."""
        if self._db.in_transaction:
            with suppress(sqlite3.Error):
                await self._db.rollback()

    async def close(self) -> None:
        try:
            await self._db.close()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error


async def open_reader(folder: str, name: str | None) -> Connection:
    """Read only, whoever asks what."""

    def connect() -> sqlite3.Connection:
        return _prepared(empty() if name is None else _file(f"{folder}/{name}", "ro"), lock)

    return await _open(connect, folder, name)


async def open_writer(folder: str, name: str, *, check: bool) -> Connection:
    """For the projector. With `check` the whole file is looked through first."""

    def prepare(db: sqlite3.Connection) -> None:
        for pragma in WRITER_PRAGMAS:
            db.execute(f"pragma {pragma}")

    def connect() -> sqlite3.Connection:
        return _prepared(_file(f"{folder}/{name}", "rw"), prepare)

    connection = await _open(connect, folder, name)
    if check:
        try:
            (verdict,), *_ = (await connection.answer("pragma quick_check(1)", (), ours=True)).rows
            if verdict != "ok":
                path = f"{folder}/{name}"
                raise Corrupt(f"the index {path!r} is damaged ({verdict}); it is made anew from the log", path=path)
        except BaseException:
            await connection.close()
            raise
    return connection


async def create(folder: str, name: str) -> None:
    """An empty index, complete and closed."""

    def prepare(db: sqlite3.Connection) -> None:
        db.execute("pragma page_size = 8192")
        db.execute("pragma journal_mode = wal")
        db.executescript(f"begin; {schema()}; insert into progress values (1, 0, '0'); commit")

    def connect() -> sqlite3.Connection:
        return _prepared(_file(f"{folder}/{name}", "rwc"), prepare)

    await (await _open(connect, folder, name)).close()


def _file(path: str, mode: str) -> sqlite3.Connection:
    address = f"file:{quote(path, errors='surrogateescape')}?mode={mode}"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_SECONDS)


def _prepared(db: sqlite3.Connection, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    try:
        prepare(db)
    except BaseException:
        db.close()
        raise
    return db


async def _open(connect: Callable[[], sqlite3.Connection], folder: str, name: str | None) -> Connection:
    db = aiosqlite.Connection(connect, iter_chunk_size=1)
    # its thread must not keep a process alive that forgot to close the catalogue
    vars(db).get("_thread", db).daemon = True
    path = f"{folder}/{name}" if name else folder
    try:
        await db
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return Connection(db, path, name)
