"""SQL for changes, what a reader may do, and SQLite's errors in our words. Loads `sqlite3`: import it only where it is used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from ashore_stores.errors import Corrupt, Full, ReadOnly, StoreError, Unavailable
from ashore_stores.index.base import BadQuery, Rows
from ashore_stores.index.changes import Add, Change, Keep, Put, Remove, Row, Set, Table
from ashore_stores.index.sql import schema

CORRUPT: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
FORBIDDEN: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
ELSEWHERE: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM}
PRIMARY: Final = 0xFF
"""An extended error code holds the primary one in its low byte."""

READS: Final = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
PRAGMAS: Final = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}

VARIABLES: Final = 30_000
"""So many parameters may one statement have."""


TOGETHER: Final = 64
"""Rows that one statement inserts: a third less work than one by one."""


def of(change: Change) -> Iterator[tuple[str, Sequence[Row]]]:
    """The statements that make a change, each with the rows of parameters to execute it with."""
    if not isinstance(change, Put | Keep):
        yield _altering(change), change.rows
        return
    whole = len(change.rows) // TOGETHER * TOGETHER
    if whole:
        parts = range(0, whole, TOGETHER)
        yield _inserting(change, TOGETHER), [tuple(chain.from_iterable(change.rows[at : at + TOGETHER])) for at in parts]
    if whole < len(change.rows):
        yield _inserting(change, 1), change.rows[whole:]


def _inserting(change: Put | Keep, count: int) -> str:
    places = f"({', '.join('?' * len(change.table.columns))})"
    verb = "replace" if isinstance(change, Put) else "ignore"
    return f"insert or {verb} into {change.table.name} values {', '.join([places] * count)}"


def _altering(change: Set | Add | Remove) -> str:
    table = change.table
    which = " and ".join(f"{name} = ?" for name in table.key)
    if isinstance(change, Remove):
        return f"delete from {table.name} where {which}"
    new = ", ".join(f"{name} = ?" if isinstance(change, Set) else f"{name} = {name} + ?" for name in change.columns)
    return f"update {table.name} set {new} where {which}"


def finding(table: Table, by: tuple[str, ...], count: int, columns: tuple[str, ...]) -> str:
    """The statement that looks `count` keys up."""
    places = ", ".join([f"({', '.join('?' * len(by))})"] * count)
    wanted = ", ".join(f"w{n}" for n in range(len(by)))
    same = " and ".join(f"t.{name} = w.w{n}" for n, name in enumerate(by))
    found = ", ".join(f"t.{name}" for name in columns)
    return f"with w ({wanted}) as (values {places}) select {found} from w join {table.name} t on {same}"


def empty() -> sqlite3.Connection:
    """An empty index in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.executescript(schema())
    db.execute("insert into progress values (1, 0, '0')")
    return db


def lock(db: sqlite3.Connection) -> None:
    """From here on this connection only reads: no writing, no other files, no settings."""
    db.execute("pragma query_only = on")
    db.execute("select 1 from json_each('[]'), json_tree('[]')")  # made at their first use, by what SQLite takes for a write
    db.set_authorizer(_may)


def _may(action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
    if action in READS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second != "load_extension":
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def answer(db: sqlite3.Connection, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> Rows:
    """What a statement answers on this connection."""
    try:
        found = db.execute(sql, params)
        rows = found.fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise translated(error, ":memory:", sql) from error
    return Rows(tuple([column[0] for column in found.description or ()]), rows)


def translated(error: Exception, path: str, sql: str = "") -> StoreError:
    """What the caller can do about an error of SQLite. `sql` is the statement, if it came from outside."""
    whole = getattr(error, "sqlite_errorcode", 0)
    code = whole & PRIMARY
    if code in BUSY:
        return Unavailable(
            f"the index {path!r} is held by another program (an open transaction in a database browser?): close it there, or retry"
        )
    if code in CORRUPT:
        return Corrupt(f"the index {path!r} is damaged ({error}); it is made anew from the log, nothing is lost", path=path)
    if code == sqlite3.SQLITE_FULL or whole == sqlite3.SQLITE_IOERR_SHMSIZE:
        return Full(f"no room for the index {path!r}: free some; the log is not touched")
    if code in FORBIDDEN:
        return ReadOnly(f"the index {path!r} cannot be written ({error}); what is there stays readable")
    if code in ELSEWHERE:
        return Unavailable(f"the index {path!r} cannot be used just now ({error})")
    if sql:
        return BadQuery(_what_is_wrong(str(error), sql))
    return Corrupt(f"the index {path!r} is not what this version wrote ({error}); it is made anew from the log", path=path)


def _what_is_wrong(reason: str, sql: str) -> str:
    shown = " ".join(sql.split())[:200]
    if "not authorized" in reason or "readonly" in reason or "query_only" in reason:
        return f"the index can only be read: {shown!r} would write, or reach outside; use select"
    hint = "; the views are runs, steps, artifacts, edges, params, triggers, tags" if "no such" in reason else ""
    return f"{reason}{hint}: {shown!r}"
