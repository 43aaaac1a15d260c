"""Typed already, refused at run time until their version comes: streams, which steps make that are generators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from ashore import Handle, Handles, Stream, each, step


class Table: ...


class Model: ...


@step
def read(path: str) -> Table:
    return Table()


@step
def names(day: str) -> list[str]:
    return [day, day]


@step
async def batches(files: Stream[str]) -> AsyncIterator[bytes]:
    async for name in files:
        yield name.encode()


@step
def rows(path: str, *, skip: int = 0) -> Iterator[int]:
    yield 1
    yield 2


@step
def count(chunks: Stream[bytes]) -> int:
    return 1


@step
def joined(chunks: list[bytes], tail: bytes = b"") -> bytes:
    return b"".join(chunks) + tail


@step
def merge(model: Model, chunks: Stream[bytes]) -> Model:
    return model


@step
def blob(data: bytes) -> None: ...


@step
def concat(tables: list[Table]) -> Table:
    return tables[0]


async def streams() -> None:
    chunks = batches(names("d"))  # a Handle[list[str]] feeds Stream[str]
    assert_type(chunks, Handles[bytes])
    assert_type(count(chunks), Handle[int])  # as it comes
    assert_type(joined(chunks), Handle[bytes])  # all of it
    assert_type(joined(chunks, b"!"), Handle[bytes])
    assert_type(merge(Model(), chunks), Handle[Model])
    assert_type(joined(batches(["a", "b"])), Handle[bytes])
    assert_type(rows("x", skip=1), Handles[int])
    async for chunk in chunks:
        assert_type(chunk, bytes)
    whole: list[bytes] = await chunks
    assert whole == [b"d", b"d"]
    blob(each(chunks))


async def plain_functions() -> None:
    assert_type(list(rows.fn("x")), list[int])
    assert_type([c async for c in batches.fn(Stream(["a"]))], list[bytes])
