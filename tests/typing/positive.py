"""Everything here is right and must pass mypy --strict and pyright strict; assert_type pins what users get.

It is checked, not run: some of it is typed already and refused at run time until its version comes (see `later.py`).
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup, gather
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, assert_type

import anyio
import msgspec

from ashore import (
    Each,
    File,
    Handle,
    Handles,
    Items,
    Outputs,
    Run,
    Runtime,
    Stream,
    each,
    fixed,
    new,
    pipeline,
    run,
    start,
    step,
    trainer,
)


class Table: ...


class Model: ...


class Parts(Outputs):
    train: Table
    test: Model


class Named(NamedTuple):
    train: Table
    test: Model


@dataclass
class Data:
    train: Table
    test: Model


class Dict(TypedDict):
    train: Table
    test: Model


class Struct(msgspec.Struct):
    train: Table
    test: Model


@step
def read(path: str) -> Table:
    return Table()


@step
def read_file(file: File) -> Table:
    return Table()


@step
async def aread(path: str) -> Table:
    return Table()


@step
def names(day: str) -> list[str]:
    return [day, day]


@step(cache="1d")
async def weather(day: str, hours: int = 24) -> dict[str, float]:
    return {day: hours}


@trainer
def fit(train: Table, valid: Table | None = None, *, lr: float = 0.1, depth: int = 3) -> Model:
    return Model()


@step
def score(model: Model, test: Table) -> dict[str, float]:
    return {"auc": 1.0}


@step
def split(table: Table) -> tuple[Table, Model]:
    return Table(), Model()


@step
async def asplit(table: Table) -> tuple[Table, Model, int]:
    return Table(), Model(), 1


@step
def vague(table: Table) -> tuple[Table, ...]:
    return (table,)


@step
def parts(table: Table) -> Parts:
    return Parts(Table(), Model())


@step
async def aparts(table: Table) -> Parts:
    return Parts(Table(), Model())


@step
def named_tuple(table: Table) -> Named:
    return Named(Table(), Model())


@step
async def data(table: Table) -> Data:
    return Data(Table(), Model())


@step
def typed_dict(table: Table) -> Dict:
    return {"train": Table(), "test": Model()}


@step
def struct(table: Table) -> Struct:
    return Struct(Table(), Model())


@step
def concat(tables: list[Table]) -> Table:
    return tables[0]


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
def blobs(day: str) -> list[bytes]:
    return [day.encode()]


@step
def blob_of(day: str) -> bytes:
    return day.encode()


@step
def blob_name(day: str) -> str:
    return day


@step
def halve(x: float, note: str | None = None) -> bool:
    return x > 1


@step
def half_of(x: int) -> int:
    return x


@step
def anything(x: Table) -> Any:
    return x


@dataclass(frozen=True)
class Trainer:
    depth: int

    @step
    def fit(self, train: Table, *, lr: float = 0.1) -> Model:
        return Model()

    @step
    async def afit(self, train: Table) -> tuple[Model, float]:
        return Model(), 0.5


async def awaited() -> None:
    table = read("x")
    assert_type(table, Handle[Table])
    assert_type(await table, Table)
    assert_type(await aread("x"), Table)
    assert_type(await weather("d", hours=3), dict[str, float])
    assert_type(await fit(Table(), lr=0.2), Model)
    assert_type(await anything(table), Any)
    assert_type(await blob(b""), None)


async def handles_as_arguments(flag: bool = True) -> None:
    table, model = read("x"), fit(read("y"))
    assert_type(fit(table), Handle[Model])
    fit(table, lr=0.2)
    fit(table, table, depth=4)
    fit(Table(), table)
    fit(table, None, lr=0.1)
    fit(table if flag else Table(), lr=1)
    settings: dict[str, Any] = {"lr": 0.3}
    fit(table, **settings)
    fit(train=fixed(table), valid=fixed(aread("z")), lr=0.2)  # by name: typed as its value
    score(model, table)
    score(Model(), table)
    score(model, Table())
    assert_type(concat([table, table, Table()]), Handle[Table])  # a list of handles into list[T]
    assert_type(concat(fixed([table, table])), Handle[Table])
    half_of(halve(half_of(3), blob_name("d")))  # covariance: Handle[bool] into int, int into float, str into str | None
    maybe = read("z") if flag else None
    fit(table, maybe)


async def outputs() -> None:
    table = read("x")
    pair = split(table)
    train, model = pair
    assert_type(train, Handle[Table])
    assert_type(model, Handle[Model])
    assert_type(pair[1], Handle[Model])
    a, b = await pair
    assert_type(a, Table)
    assert_type(b, Model)
    _t, _m, n = asplit(table)
    assert_type(n, Handle[int])
    assert_type(await n, int)
    assert_type(await vague(table), tuple[Table, ...])
    named = parts(table)
    assert_type(named.train, Handle[Any])
    assert_type(await named, Parts)
    fit(named.train)
    assert_type(fixed(named).test, Model)  # a handle at run time; for the checkers, the field
    score(fixed(named).test, fixed(named).train)
    x, y = named
    score(y, x)
    assert_type(await aparts(table), Parts)
    assert_type(aparts(table).train, Handle[Any])
    assert_type(named_tuple(table), Handle[Named])  # one value, as every other kind of record
    assert_type((await named_tuple(table)).test, Model)
    assert_type(data(table), Handle[Data])
    assert_type(typed_dict(table), Handle[Dict])
    assert_type((await typed_dict(table))["test"], Model)
    assert_type(struct(table), Handle[Struct])


async def fan_out() -> None:
    files = names("d")
    assert_type(each(files), Each[str])
    assert_type(each(["a", "b"]), Each[str])
    tables = read(each(files))
    assert_type(tables, Handles[Table])
    assert_type(await tables, Items[Table])
    got: list[Table] = await tables
    assert len(got) == 2
    assert_type(concat(tables), Handle[Table])  # joined by list[T]
    models = fit(each(tables), lr=0.3)  # element by element
    assert_type(models, Handles[Model])
    test = read("t")
    assert_type(score(each(models), test), Handles[dict[str, float]])  # what is not each(...) is shared
    pairs = score(*each(models, tables))  # side by side
    assert_type(pairs, Handles[dict[str, float]])
    m, t = each.product(models, tables)
    assert_type(score(m, t), Handles[dict[str, float]])
    listed = [fit(test, lr=lr) for lr in (0.1, 0.2)]
    assert_type(score(each(listed), test), Handles[dict[str, float]])
    trains, others = split(each(tables))
    assert_type(trains, Handles[Table])
    assert_type(others, Handles[Model])
    assert_type(fit(each(trains)), Handles[Model])
    async for table in tables:
        assert_type(table, Table)
    assert_type(await asplit(each(tables)), Items[tuple[Table, Model, int]])


async def streams() -> None:
    assert_type(count([b"a"]), Handle[int])
    assert_type(count(blobs("d")), Handle[int])  # a Handle[list[bytes]] feeds Stream[bytes]
    assert_type(count(blob_of(each(["a", "b"]))), Handle[int])  # and so does a fan-out
    assert_type(joined(blob_of(each(["a"])), b"!"), Handle[bytes])
    assert_type(merge(Model(), blob_of(each(["a"]))), Handle[Model])


async def asyncio_and_anyio() -> None:
    a, b = read("x"), fit(read("y"))
    assert_type(await gather(a, b), tuple[Table, Model])
    assert_type(await gather(*(score(b, a) for _ in range(2))), list[dict[str, float]])
    assert_type(await gather(*[a, a]), list[Table])
    for next_done in asyncio.as_completed([read("1"), read("2")]):
        assert_type(await next_done, Table)
    assert_type(await asyncio.wait_for(a, 1), Table)
    assert_type(await asyncio.shield(a), Table)
    async with asyncio.timeout(1):
        await a
    async with TaskGroup() as group:
        task = group.create_task(read("z"))
    assert_type(task.result(), Table)
    assert_type(await asyncio.create_task(read("z")), Table)
    async with anyio.create_task_group() as tasks:
        made = tasks.create_task(read("z"))
        tasks.start_soon(read, "w")
        with anyio.move_on_after(1):
            await a
        assert_type(await made, Table)


async def methods() -> None:
    trainer_ = Trainer(3)
    assert_type(trainer_.fit(Table()), Handle[Model])
    assert_type(await trainer_.fit(read("x"), lr=0.3), Model)
    model, loss = trainer_.afit(read("x"))
    assert_type(loss, Handle[float])
    assert_type(model, Handle[Model])
    assert_type(trainer_.fit.fn(Table(), lr=0.1), Model)
    assert_type(Trainer.fit(trainer_, Table()), Handle[Model])


@pipeline
def wired(path: str, lr: float = 0.1) -> Handle[dict[str, float]]:
    table = read(path)
    return score(fit(table, lr=lr), table)


@pipeline
def wired_two(path: str) -> tuple[Handle[Model], Handle[dict[str, float]]]:
    table = read(path)
    model = fit(table)
    return model, score(model, table)


@pipeline(on=new("inbox/*.csv"), limit=1)
def grown(files: list[File], lr: float = 0.1) -> Handle[Model]:
    return fit(concat(read_file(each(files, on_error="skip"))), lr=lr)


@pipeline
def nested(path: str) -> Handle[dict[str, float]]:
    sub = wired(path)  # a pipeline inside a pipeline is a sub-run
    assert_type(sub, Handle[dict[str, float]])
    model, metrics = wired_two(path)
    assert_type(metrics, Handle[dict[str, float]])
    assert_type(wired(path=fixed(blob_name(path))), Handle[dict[str, float]])
    return score(model, read(path))


@pipeline
def listed(path: str) -> list[Handle[Model]]:
    return [fit(read(path), lr=lr) for lr in (0.1, 0.2)]


@pipeline
def by_name(path: str) -> dict[str, Handle[Model]]:
    return {"one": fit(read(path))}


@pipeline
def fanned(day: str) -> Handles[Table]:
    return read(each(names(day)))


async def calls() -> None:
    call = wired("x", lr=0.2)
    assert_type(call, Handle[dict[str, float]])
    assert_type(await call, dict[str, float])
    assert_type(await grown([File("x")]), Model)
    assert_type(grown.options(key="a")([File("x")]), Handle[Model])
    assert_type(fit.options.cache, bool | None)
    assert_type(await nested("x"), dict[str, float])
    assert_type(await listed("x"), list[Model])
    assert_type(await by_name("x"), dict[str, Model])
    assert_type(await fanned("x"), Items[Table])
    started = await start(wired("x"), key="k")
    assert_type(started, Run[dict[str, float]])
    assert_type(await started, dict[str, float])
    async with Runtime() as rt:
        assert_type(await rt.start(wired("x"), key="k"), Run[dict[str, float]])
        assert_type(await rt.start(wired("x").refresh(fit, "score")), Run[dict[str, float]])
    assert_type(await wired("x").refresh(), dict[str, float])
    assert_type(await gather(wired("x"), wired_two("y")), tuple[dict[str, float], tuple[Model, dict[str, float]]])
    fan = wired(each(["a", "b"]))
    assert_type(await fan, Items[dict[str, float]])


def plain_functions() -> None:
    """What unit tests call: the function as written, its own types, no runtime."""
    assert_type(fit.fn(Table(), lr=0.1), Model)
    assert_type(split.fn(Table()), tuple[Table, Model])


async def plain_async_functions() -> None:
    assert_type(await weather.fn("d"), dict[str, float])


def main() -> None:
    assert_type(run(wired("x")), dict[str, float])
