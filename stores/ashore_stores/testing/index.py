"""What every index promises. Subclass `IndexContract` and give it an `index` fixture.

```python
class TestMyIndex(IndexContract):
    @pytest.fixture
    def index(self) -> MetadataIndex: ...
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import strategies as st

from ashore_stores.errors import Closed, Conflict, StoreError
from ashore_stores.index.base import BadQuery, MetadataIndex
from ashore_stores.index.changes import FAN, FILE, OWNER, REUSE, TABLES, USE, Add, Change, Keep, Put, Remove, Row, Set
from ashore_stores.keys import Cursor, Position

VIEWS: Final = ("runs", "steps", "artifacts", "edges", "params", "triggers")

_small = st.integers(0, 6)
_fans = st.tuples(_small, _small, _small, _small, _small, _small)
_files = st.tuples(st.binary(min_size=1, max_size=1), st.text("ab", max_size=2), st.binary(max_size=2), _small, _small)
_uses = st.tuples(_small, st.text("ab", max_size=2), _small, _small, _small)
_rows = st.integers(0, 150)

changes: Final = st.one_of(
    st.builds(Put, st.just(FAN), st.lists(_fans, max_size=8)),
    st.builds(Keep, st.just(FAN), st.lists(_fans, max_size=8)),
    st.builds(lambda n, by: Keep(FAN, [(by * no, no, None, 0, 0, no) for no in range(n)]), _rows, st.integers(1, 3)),
    st.builds(lambda n: Put(REUSE, [(no, n - no) for no in range(n)]), _rows),
    st.builds(Put, st.just(FILE), st.lists(_files, max_size=8)),
    st.builds(Keep, st.just(USE), st.lists(_uses, max_size=8)),
    st.builds(Set, st.just(FAN), st.just(("elements", "skipped")), st.lists(st.tuples(_small, st.none() | _small, _small))),
    st.builds(Add, st.just(FAN), st.just(("done", "failed")), st.lists(st.tuples(_small, _small, _small))),
    st.builds(Set, st.just(USE), st.just(("element",)), st.lists(st.tuples(_small, _small, st.text("ab", max_size=2)))),
    st.builds(Remove, st.just(FAN), st.lists(st.tuples(_small), max_size=3)),
)
"""Any change, of few keys so that they meet, some of many rows."""


async def dump(index: MetadataIndex) -> dict[str, list[Row]]:
    """Every row of every table, in a settled order: two indexes of the same log give the same."""
    return {table.name: (await index.query(f"select * from {table.name} order by {', '.join(table.key)}")).rows for table in TABLES}


async def moved(index: MetadataIndex, told: Sequence[Change], upto: int) -> Cursor:
    """Apply after whatever is there."""
    cursor = Cursor(Position(upto), (1 << 63) + upto)
    await index.apply(told, after=await index.cursor(), upto=cursor)
    return cursor


def owner(name: bytes, pid: int) -> Row:
    return (name, pid, "host", "user", "command", 1.5)


@pytest.mark.anyio
class IndexContract:
    """Run by every index."""

    async def test_a_new_index_is_empty_and_stands_at_the_start(self, index: MetadataIndex) -> None:
        assert await index.cursor() == Cursor()
        for view in VIEWS:
            assert (await index.query(f"select * from {view}")).rows == []

    async def test_rows_and_cursor_move_together(self, index: MetadataIndex) -> None:
        cursor = await moved(index, [Put(OWNER, [owner(b"a", 7)])], 3)
        assert await index.cursor() == cursor
        assert (await index.query("select id, pid from owner")).rows == [(b"a", 7)]

    async def test_nothing_moves_if_a_change_cannot_be_made(self, index: MetadataIndex) -> None:
        cursor = await moved(index, [Put(OWNER, [owner(b"a", 7)])], 3)
        with pytest.raises((StoreError, ValueError)):
            await index.apply([Put(OWNER, [owner(b"b", 8)]), Put(OWNER, [(b"c",)])], after=cursor, upto=Cursor(Position(9), 9))
        assert await index.cursor() == cursor
        assert (await index.query("select id from owner")).rows == [(b"a",)]

    async def test_who_starts_from_an_old_cursor_is_told_and_changes_nothing(self, index: MetadataIndex) -> None:
        cursor = await moved(index, [], 3)
        with pytest.raises(Conflict, match="position 3"):
            await index.apply([Put(OWNER, [owner(b"b", 8)])], after=Cursor(), upto=Cursor(Position(5), 5))
        assert await index.cursor() == cursor
        assert (await index.query("select * from owner")).rows == []

    async def test_put_replaces_and_keep_keeps(self, index: MetadataIndex) -> None:
        await moved(index, [Put(OWNER, [owner(b"a", 1)]), Keep(OWNER, [owner(b"a", 2), owner(b"b", 2)])], 1)
        await moved(index, [Put(OWNER, [owner(b"b", 3)])], 2)
        assert (await index.query("select id, pid from owner order by id")).rows == [(b"a", 1), (b"b", 3)]

    async def test_set_add_and_remove_pass_over_keys_without_a_row(self, index: MetadataIndex) -> None:
        told: list[Change] = [
            Keep(FAN, [(1, None, None, 0, 0, 0), (2, None, None, 0, 0, 0)]),
            Set(FAN, ("elements",), [(9, 1), (9, 5)]),
            Add(FAN, ("done", "failed"), [(3, 1, 1), (4, 0, 1), (4, 0, 5)]),
            Remove(FAN, [(2,), (5,)]),
        ]
        await moved(index, told, 1)
        assert (await index.query("select * from fan")).rows == [(1, 9, None, 7, 0, 1)]

    async def test_rows_are_found_by_key(self, index: MetadataIndex) -> None:
        await moved(index, [Put(USE, [(no, "x", no % 7, 0, -1) for no in range(200)])], 1)
        found = await index.find(USE, ("consumer", "source"), [(8, 1), (9, 1), (500, 1)], ("consumer", "argument"))
        assert found == [(8, "x")]
        assert await index.find(USE, ("consumer",), [], ("source",)) == []
        many = [(no,) for no in range(40_000)]
        assert len(await index.find(USE, ("consumer",), many, ("source",))) == 200

    async def test_the_last_key(self, index: MetadataIndex) -> None:
        assert await index.last(FAN) == 0
        await moved(index, [Keep(FAN, [(no, None, None, 0, 0, 0) for no in (3, 12, 5)])], 1)
        assert await index.last(FAN) == 12

    async def test_a_query_takes_parameters_and_names_its_columns(self, index: MetadataIndex) -> None:
        await moved(index, [Put(OWNER, [owner(b"a", 1), owner(b"b", 2)])], 1)
        answer = await index.query("select id, pid as number from owner where pid > ?", (1,))
        assert (answer.columns, answer.rows, len(answer)) == (("id", "number"), [(b"b", 2)], 1)
        named = await index.query("select id from owner where pid = :pid", {"pid": 1})
        assert named.records() == [{"id": b"a"}]

    @pytest.mark.parametrize(
        "statement",
        [
            "insert into owner values (x'00', 1, 'h', 'u', 'c', 1.0)",
            "update owner set pid = 9",
            "delete from owner",
            "drop table owner",
            "create table mine (x)",
            "create temp table mine (x)",
            "attach database ':memory:' as other",
            "vacuum into '/dev/null'",
            "pragma query_only = off",
            "pragma journal_mode = delete",
            "select load_extension('x')",
            "begin immediate",
        ],
    )
    async def test_a_query_only_reads(self, index: MetadataIndex, statement: str) -> None:
        await moved(index, [Put(OWNER, [owner(b"a", 1)])], 1)
        with pytest.raises(BadQuery):
            await index.query(statement)
        await moved(index, [Put(OWNER, [owner(b"b", 2)])], 2)
        assert (await index.query("select id, pid from owner order by id")).rows == [(b"a", 1), (b"b", 2)]

    @pytest.mark.parametrize(
        ("statement", "params", "says"),
        [
            ("select * from stepz", (), "the views are runs, steps"),
            ("select colour from runs", (), "no such column: colour"),
            ("selec 1", (), "syntax error"),
            ("select 1; select 2", (), "one statement"),
            ("select ?", (), "binding"),
        ],
    )
    async def test_a_wrong_query_says_what_is_wrong(self, index: MetadataIndex, statement: str, params: Any, says: str) -> None:
        with pytest.raises(BadQuery, match=says):
            await index.query(statement, params)

    async def test_there_is_one_seat(self, index: MetadataIndex) -> None:
        assert index.take_seat()
        assert not index.take_seat()
        index.leave_seat()
        assert index.take_seat()
        index.leave_seat()

    async def test_restart_is_an_empty_index(self, index: MetadataIndex) -> None:
        await moved(index, [Put(OWNER, [owner(b"a", 1)])], 8)
        await index.restart()
        assert await index.cursor() == Cursor()
        assert (await index.query("select * from owner")).rows == []
        await moved(index, [Put(OWNER, [owner(b"b", 2)])], 2)
        assert (await index.query("select id from owner")).rows == [(b"b",)]

    async def test_a_closed_index_says_so(self, index: MetadataIndex) -> None:
        await index.aclose()
        await index.aclose()
        for use in (index.cursor, index.restart, lambda: index.query("select 1"), lambda: moved(index, [], 1)):
            with pytest.raises(Closed):
                await use()
