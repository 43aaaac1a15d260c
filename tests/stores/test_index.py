"""The indexes: both keep the contract, both mean the same; and what only files can go through."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashore_stores.errors import Corrupt, Full, ReadOnly, Unavailable
from ashore_stores.index import connections
from ashore_stores.index.base import MetadataIndex
from ashore_stores.index.changes import OWNER, TABLES, Change, Put
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.index.opening import open_index
from ashore_stores.index.sql import queries, schema
from ashore_stores.index.sqlite import SqliteIndex
from ashore_stores.keys import Cursor
from ashore_stores.ports import DiskFile
from ashore_stores.system import system_ports
from ashore_stores.system.disk import SystemDisk
from ashore_stores.testing.index import IndexContract, changes, dump, moved, owner

pytestmark = pytest.mark.anyio


def sqlite_index(folder: Path, version: int = 1) -> SqliteIndex:
    ports = system_ports()
    return SqliteIndex(ports.disk, ports.random, str(folder), version)


@asynccontextmanager
async def opened(folder: Path, version: int = 1) -> AsyncIterator[SqliteIndex]:
    index = sqlite_index(folder, version)
    try:
        yield index
    finally:
        await index.aclose()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(".sqlite"))


class TestMemoryIndex(IndexContract):
    @pytest.fixture
    async def index(self, anyio_backend: str) -> AsyncIterator[MetadataIndex]:
        index = MemoryIndex()
        yield index
        await index.aclose()


class TestSqliteIndex(IndexContract):
    @pytest.fixture
    async def index(self, anyio_backend: str, tmp_path: Path) -> AsyncIterator[MetadataIndex]:
        async with opened(tmp_path / "index") as index:
            yield index


def test_the_tables_are_those_of_the_schema() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(schema())
        strict = {row[1] for row in db.execute("pragma table_list") if row[2] == "table" and row[5]}
        for table in TABLES:
            rows = db.execute(f"pragma table_info({table.name})").fetchall()
            assert tuple(row[1] for row in rows) == table.columns
            assert {row[1] for row in rows if row[5]} == set(table.key)
        assert strict == {table.name for table in TABLES} | {"progress"}


def test_named_questions_are_single_statements() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(schema())
        for name, text in queries().items():
            params = {"runs": "[]", "limit": 1}
            db.execute(text, {key: params.get(key) for key in _parameters(text)}).fetchall()
            assert text.strip(), name


def _parameters(text: str) -> set[str]:
    code = "\n".join(line.partition("--")[0] for line in text.splitlines())
    return {
        word.split(":")[1] for word in code.replace("(", " ").replace(")", " ").replace(",", " ").split() if word.startswith(":")
    }


@given(st.lists(st.lists(changes, max_size=5), max_size=4))
@settings(max_examples=40)
def test_memory_and_sqlite_mean_the_same(tmp_path_factory: pytest.TempPathFactory, slices: list[list[Change]]) -> None:
    async def main() -> None:
        memory = MemoryIndex()
        async with opened(tmp_path_factory.mktemp("home") / "index") as index:
            for number, told in enumerate(slices, 1):
                assert await moved(memory, told, number) == await moved(index, told, number)
                assert await dump(memory) == await dump(index)
        await memory.aclose()

    anyio.run(main)


async def test_rows_outlive_the_process_and_are_complete(tmp_path: Path) -> None:
    async with opened(tmp_path / "index") as index:
        cursor = await moved(index, [Put(OWNER, [owner(b"a", 1)])], 4)
    async with opened(tmp_path / "index") as again:
        assert await again.cursor() == cursor
        assert (await again.query("select id from owner")).rows == [(b"a",)]


async def test_the_file_is_named_by_the_version_and_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "index", version=4) as index:
        await moved(index, [], 1)
        await index.restart()
        await index.restart()
    names = [path.name for path in (tmp_path / "index").iterdir()]
    assert len(names) == 1
    assert names[0].startswith("index-4.")


async def test_a_reader_of_another_process_sees_what_was_applied_and_moves_over_to_a_new_file(tmp_path: Path) -> None:
    script = """
import sys, anyio
from ashore_stores.index.sqlite import SqliteIndex
from ashore_stores.ports import DiskFile
from ashore_stores.system import system_ports
from ashore_stores.system.disk import SystemDisk
async def main():
    ports = system_ports()
    index = SqliteIndex(ports.disk, ports.random, sys.argv[1], 1)
    for _ in sys.stdin:
        print((await index.query("select count(*) from owner")).rows[0][0], index.take_seat(), flush=True)
    await index.aclose()
anyio.run(main)
"""
    async with opened(tmp_path / "index") as index:
        assert index.take_seat()
        with subprocess.Popen(  # noqa: ASYNC220 - it is spoken to line by line, in turns
            [sys.executable, "-c", script, str(tmp_path / "index")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdin
            assert other.stdout

            def asked() -> str:
                other.stdin.write("?\n")  # type: ignore[union-attr]  # narrowed above
                other.stdin.flush()  # type: ignore[union-attr]
                return other.stdout.readline().strip()  # type: ignore[union-attr]

            assert asked() == "0 False"
            await moved(index, [Put(OWNER, [owner(b"a", 1), owner(b"b", 1)])], 4)
            assert asked() == "2 False"
            await index.restart()
            assert asked() == "0 False"
            await moved(index, [Put(OWNER, [owner(b"a", 1)])], 4)
            assert asked() == "1 False"
            index.leave_seat()
            assert asked() == "1 True"
            other.stdin.close()
            assert other.wait() == 0


async def test_two_indexes_of_a_process_share_the_seat(tmp_path: Path) -> None:
    async with opened(tmp_path / "index") as one, opened(tmp_path / "." / "index") as two:
        assert one.take_seat()
        assert not two.take_seat()
        one.leave_seat()
        assert two.take_seat()
        two.leave_seat()


async def test_a_removed_file_is_an_empty_index_that_can_be_filled_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "index") as index:
        await moved(index, [Put(OWNER, [owner(b"a", 1)])], 4)
        for path in (tmp_path / "index").iterdir():
            path.unlink()
        assert await index.cursor() == Cursor()
        assert (await index.query("select * from owner")).rows == []
        await moved(index, [Put(OWNER, [owner(b"b", 1)])], 2)
        assert (await index.query("select id from owner")).rows == [(b"b",)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


def scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192 : 8192 * 6] = b"\xa5" * (8192 * 5)
    path.write_bytes(content)


def overwrite(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 300)


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table something (x)")


@pytest.mark.parametrize("damage", [cut, scribble, overwrite, foreign])
async def test_a_damaged_file_is_reported_before_it_is_written_and_can_be_begun_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    async with opened(tmp_path / "index") as index:
        await moved(index, [Put(OWNER, [owner(bytes([n % 256, n // 256]), n) for n in range(3000)])], 4)
    (path,) = files(tmp_path / "index")
    damage(path)
    async with opened(tmp_path / "index") as index:
        with pytest.raises(Corrupt, match="anew"):
            await index.apply([Put(OWNER, [owner(b"z", 1)])], after=await index.cursor(), upto=Cursor())
        await index.restart()
        await moved(index, [Put(OWNER, [owner(b"b", 1)])], 2)
        assert (await index.query("select id from owner")).rows == [(b"b",)]
    assert not path.exists()


async def test_an_index_held_by_another_program_is_busy_for_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.05)
    async with opened(tmp_path / "index") as index:
        cursor = await moved(index, [Put(OWNER, [owner(b"a", 1)])], 1)
        (path,) = files(tmp_path / "index")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            assert (await index.query("select pid from owner")).rows == [(1,)]
            with pytest.raises(Unavailable, match="another program"):
                await moved(index, [Put(OWNER, [owner(b"b", 2)])], 2)
            other.execute("rollback")
        assert await index.cursor() == cursor
        await moved(index, [Put(OWNER, [owner(b"b", 2)])], 2)
        assert len(await index.query("select * from owner")) == 2


async def test_older_code_reads_a_newer_index_and_does_not_project(tmp_path: Path) -> None:
    async with opened(tmp_path / "index", version=2) as newer:
        cursor = await moved(newer, [Put(OWNER, [owner(b"a", 1)])], 1)
        async with opened(tmp_path / "index", version=1) as older:
            assert not older.take_seat()
            assert await older.cursor() == cursor
            assert (await older.query("select id from owner")).rows == [(b"a",)]
    assert [path.name[:8] for path in files(tmp_path / "index")] == ["index-2."]


async def test_newer_code_begins_anew_and_leaves_no_older_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "index", version=1) as older:
        await moved(older, [Put(OWNER, [owner(b"a", 1)])], 1)
    async with opened(tmp_path / "index", version=2) as newer:
        assert newer.take_seat()
        assert await newer.cursor() == Cursor()
        await moved(newer, [], 1)
        newer.leave_seat()
    assert [path.name[:8] for path in files(tmp_path / "index")] == ["index-2."]


async def test_a_cancelled_query_is_broken_off_and_the_next_one_is_answered(tmp_path: Path) -> None:
    endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n"
    async with opened(tmp_path / "index") as index:
        await moved(index, [Put(OWNER, [owner(b"a", 1)])], 1)
        with anyio.move_on_after(0.05) as scope:
            await index.query(endless)
        assert scope.cancelled_caught
        assert (await index.query("select id from owner")).rows == [(b"a",)]


class ReadOnlyDisk(SystemDisk):
    """A disk on which nothing can be changed."""

    def make_folder(self, path: str) -> None:
        raise ReadOnly(f"cannot make {path!r}: read-only file system")

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        if write or create:
            raise ReadOnly(f"cannot open {path!r}: read-only file system")
        return super().open(path)


class FullDisk(SystemDisk):
    """A disk without room for another file."""

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        if create:
            raise Full(f"cannot make {path!r}: no room")
        return super().open(path, write=write)


async def test_where_nothing_can_be_written_the_index_is_in_memory(tmp_path: Path) -> None:
    ports = system_ports()
    for disk in (ReadOnlyDisk(), FullDisk()):
        assert isinstance(open_index(disk, ports.random, str(tmp_path / "index"), 1), MemoryIndex)
    index = open_index(ports.disk, ports.random, str(tmp_path / "index"), 1)
    assert isinstance(index, SqliteIndex)
    assert list((tmp_path / "index").iterdir()) == []
    await index.aclose()
