"""Typed already, refused at run time until their versions come: generators, `async def` pipelines, retries and the like."""

from __future__ import annotations

from asyncio import gather
from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from ashore import Handle, Handles, Stream, each, fixed, pipeline, start, step, trainer


class Table: ...


class Model: ...


@step
def read(path: str) -> Table:
    return Table()


@trainer(gpus=1, seed=0)
def fit(train: Table, *, lr: float = 0.1) -> Model:
    return Model()


@step(retry=3, timeout="30s", cache="1d")
async def weather(day: str, hours: int = 24) -> dict[str, float]:
    return {day: hours}


@step
def names(day: str) -> list[str]:
    return [day, day]


@step
def score(model: Model, test: Table) -> dict[str, float]:
    return {"auc": 1.0}


@step
async def deploy(model: Model) -> None: ...


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


@pipeline
def wired(path: str, lr: float = 0.1) -> Handle[dict[str, float]]:
    return score(fit(read(path), lr=lr), read(path))


@pipeline
async def searched(day: str, *, tries: int = 3) -> Handle[Model]:
    table = concat(read(each(names(day))))
    models = [fit(table, lr=lr) for lr in (0.1, 0.01, 0.001)]
    scores = await gather(*(score(m, table) for m in models))
    assert_type(scores, list[dict[str, float]])
    best = models[max(range(3), key=lambda i: scores[i]["auc"])]
    if max(s["auc"] for s in scores) > 0.9:
        await deploy(best)
    return best


@pipeline
async def valued(day: str) -> float:
    return (await wired(path=fixed(names(day))[0]))["auc"]


@pipeline
async def two(day: str) -> tuple[Handle[Table], Handle[Model]]:
    table = read(day)
    return table, fit(table)


async def calls() -> None:
    assert_type(await searched("x", tries=2), Model)
    assert_type(await valued("x"), float)
    table, model = two("x")
    assert_type(await table, Table)
    assert_type(await model, Model)
    assert_type(await (await start(searched("x"), key="k")), Model)
    assert_type(await gather(wired("x"), searched("y")), tuple[dict[str, float], Model])
    assert_type(await weather("d", hours=3), dict[str, float])


async def plain_functions() -> None:
    assert_type(list(rows.fn("x")), list[int])
    assert_type([c async for c in batches.fn(Stream(["a"]))], list[bytes])
