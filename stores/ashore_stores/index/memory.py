"""The reference index: tables as dictionaries. SQL is answered by a throw-away SQLite database filled from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from weakref import finalize

from ashore_stores.errors import Closed, Conflict
from ashore_stores.index.base import Rows
from ashore_stores.index.changes import TABLES, Add, Change, Keep, Put, Remove, Row, Table
from ashore_stores.index.sql import queries
from ashore_stores.keys import Cursor

if TYPE_CHECKING:
    import sqlite3


class MemoryIndex:
    """A `MetadataIndex` of one process."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[Row, dict[str, Any]]] = {table.name: {} for table in TABLES}
        self._cursor = Cursor()
        self._seat_taken = False
        self._is_closed = False
        self._filled: sqlite3.Connection | None = None
        self._queries = queries()

    def __repr__(self) -> str:
        rows = sum(len(table) for table in self._tables.values())
        return f"<MemoryIndex {rows} rows at position {self._cursor.position}>"

    async def cursor(self) -> Cursor:
        self._check()
        return self._cursor

    def take_seat(self) -> bool:
        taken, self._seat_taken = self._seat_taken, True
        return not taken

    def leave_seat(self) -> None:
        self._seat_taken = False

    def lost(self) -> str:
        return ""

    async def apply(self, changes: Sequence[Change], *, after: Cursor, upto: Cursor) -> None:
        self._check()
        if after != self._cursor:
            raise Conflict(f"the index is at position {self._cursor.position}, not at {after.position}: read its cursor again")
        for change in changes:
            _check_width(change)
        for change in changes:
            self._apply(change)
        self._cursor = upto
        self._drop_filled()

    def _apply(self, change: Change) -> None:
        rows = self._tables[change.table.name]
        if isinstance(change, Put | Keep):
            for values in change.rows:
                row = dict(zip(change.table.columns, values, strict=True))
                key = tuple([row[column] for column in change.table.key])
                if isinstance(change, Put) or key not in rows:
                    rows[key] = row
            return
        if isinstance(change, Remove):
            for values in change.rows:
                rows.pop(values, None)
            return
        width = len(change.columns)
        for values in change.rows:
            found = rows.get(values[width:])
            if found is not None:
                new = zip(change.columns, values[:width], strict=True)
                found.update((name, found[name] + value if isinstance(change, Add) else value) for name, value in new)

    async def find(self, table: Table, by: tuple[str, ...], keys: Sequence[Row], columns: tuple[str, ...]) -> list[Row]:
        self._check()
        wanted = set(keys)
        rows = self._tables[table.name].values()
        return [tuple([row[name] for name in columns]) for row in rows if tuple([row[name] for name in by]) in wanted]

    async def last(self, table: Table) -> int:
        self._check()
        return max((key[0] for key in self._tables[table.name]), default=0)

    async def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Rows:
        self._check()
        from ashore_stores.index import statements  # noqa: PLC0415 - SQLite is loaded only where SQL is asked

        if self._filled is None:
            self._filled = statements.empty()
            self._drop = finalize(self, self._filled.close)
            for table in TABLES:
                put = Put(table, list(map(itemgetter(*table.columns), self._tables[table.name].values())))
                for statement, rows in statements.of(put):
                    self._filled.executemany(statement, rows)
            statements.lock(self._filled)
        return statements.answer(self._filled, sql, params)

    async def ask(self, name: str, params: Mapping[str, Any]) -> Rows:
        return await self.query(self._queries[name], params)

    async def restart(self) -> None:
        self._check()
        for table in self._tables.values():
            table.clear()
        self._cursor = Cursor()
        self._drop_filled()

    async def aclose(self) -> None:
        self._is_closed = True
        self._drop_filled()

    def _drop_filled(self) -> None:
        if self._filled is not None:
            self._drop()
            self._filled = None

    def _check(self) -> None:
        if self._is_closed:
            raise Closed("the index was closed")


def _check_width(change: Change) -> None:
    table = change.table
    if isinstance(change, Put | Keep):
        width = len(table.columns)
    else:
        width = len(table.key) + (0 if isinstance(change, Remove) else len(change.columns))
    if any(len(row) != width for row in change.rows):
        raise ValueError(f"rows for {table.name} have to be {width} wide")
