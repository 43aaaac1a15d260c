# mypy: ignore-errors
# ruff: noqa: B015, B018, RUF012, RUF059
"""Each line marked is wrong and must be reported by the checkers named (E: both). `miss` lines are wrong and reported by nobody:
what is left to the wiring check. Lines marked `false` are right at run time and reported all the same: the price."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

import ashore
from ashore import (
    Handle,
    Resource,
    Retry,
    Runtime,
    Secret,
    Stream,
    approval,
    current,
    each,
    fixed,
    latest,
    pipeline,
    resource,
    run,
    secret,
    sleep,
    step,
    until,
    within,
)
from ashore.testing import ManualClock, MemoryStack, Recorder, assert_resumes

X = TypeVar("X")


class Table:
    columns: list[str] = []

    def dropna(self) -> Table:
        return self


@dataclass
class Model:
    lr: float = 0.1

    def predict(self, t: Table) -> list[float]:
        return []


@step
def read(path: str) -> Table:
    return Table()


@step
async def weather(day: str, hours: int = 24) -> dict[str, float]:
    return {}


@step
def fit(train: Table, valid: Table | None = None, *, lr: float = 0.1) -> Model:
    return Model()


@step
def score(model: Model, test: Table) -> dict[str, float]:
    return {}


@step
def split(t: Table) -> tuple[Table, Model]:
    return t, Model()


@step
def add(a: int, b: int = 1) -> int:
    return a + b


@step
def concat(tables: list[Table]) -> Table:
    return tables[0]


@step
async def batches(paths: Stream[str]) -> AsyncIterator[bytes]:
    yield b""


@step
def total(data: bytes) -> int:
    return 1


@step
def loose(model: Any, test: Table) -> dict[str, float]:
    return {}


@step
def anything(x: Table) -> Any:
    return x


@step
def only(*, train: Table, lr: float = 0.1) -> Model:
    return Model()


@step
def first(xs: list[X]) -> X:
    return xs[0]


@step
def varargs(*tables: Table) -> Table:
    return tables[0]


def plain(t: Table) -> None: ...


async def wrong_calls(t: Handle[Table], m: Handle[Model], ts: list[Handle[Table]]) -> None:
    fit("wrong")  # E
    fit(t, lr="x")  # E
    fit(t, rl=0.1)  # E
    fit()  # E
    fit(t, t, t)  # E
    fit(m)  # E
    score(t, m)  # E
    score(m)  # E
    weather(3)  # E
    weather(day=3)  # E
    concat([m, m])  # E
    concat(t)  # E
    total(batches(["x"]))  # E
    score(m, test=m)  # E
    fit(each(["a"]))  # E
    fit(t, each(3))  # E
    score(*each([m], [m]))  # E
    fit(train=fixed(m))  # E
    await asyncio.gather(fit, t)  # E
    anything("wrong")  # E pyright: a step whose result is Any is Any as a whole to mypy
    run(fit)  # E
    run(3)  # E


async def forgotten_await(t: Handle[Table], m: Handle[Model], d: Handle[dict[str, float]], n: Handle[int]) -> None:
    t.dropna()  # E
    m.predict(Table())  # E
    d["auc"]  # E
    n + 1  # E
    n > 1  # E
    n == 1  # E
    len(d)  # E
    "auc" in d  # E
    for _ in d:  # E
        pass
    if n:  # E pyright
        pass
    plain(t)  # E
    x: Table = t  # E
    max(n, 2)  # E
    print(f"{n}", x)  # miss
    fit(t).lr  # E
    fit(t).lr + 1  # E


def outside() -> None:
    assert add(1, 2) == 3  # E mypy
    add(1, 2) + 1  # E
    read("x").columns  # E
    assert add.fn(1, 2) == 3
    add.fn("1")  # E


async def unpacking(t: Handle[Table]) -> None:
    a, b, c = split(t)  # E
    a, b = read("x")  # E


@pipeline
def no_handle(path: str) -> dict[str, float]:
    return score(fit(read(path)), read(path))  # E


@pipeline
async def await_missing(path: str) -> Model:
    return fit(read(path))  # E


@pipeline
async def search(day: str, *, tries: int = 3) -> Handle[Model]:
    return fit(read(day))


async def pipelines() -> None:
    search(3)  # E
    search("x", tires=3)  # E
    (await search("x")).foo  # E


async def the_price(t: Handle[Table], m: Handle[Model], ts: list[Handle[Table]]) -> None:
    fit(train=t)  # false E: a handle by name; fit(t), or fit(train=fixed(t))
    only(train=t)  # false E: only(train=fixed(t))
    fit(t, lr=each((0.1, 0.2)))  # false E: each() goes by position; here [fit(t, lr=lr) for lr in (0.1, 0.2)]
    varargs(*ts)  # false E: varargs(*fixed(ts))
    varargs(t, t)
    first([1])  # false E mypy: mypy loses the type variables of a function under any class-based decorator
    got: dict[str, float] = await loose(each([m]), t)  # miss: an Any parameter takes the each(); it is a list at run time
    print(got)


class Pool:
    def rows(self) -> list[int]:
        return []


@step
def load(day: str, db: Resource[Pool] = resource(), token: Secret = secret("TOKEN")) -> Table:
    db.row()  # E
    token.upper()  # E
    text: str = token  # E
    print(text)
    return Table()


@step
def undeclared(day: str, db: Resource[Pool]) -> Table:
    return Table()


def supplied() -> None:
    load(1)  # E
    load()  # E
    load("mon", db="pool")  # E
    load("mon", tokn=1)  # E
    undeclared("mon")  # E  (without its default a checker takes it for an argument)
    load("x").refresh(3)  # E
    resource(1)  # E
    secret()  # E
    Runtime(resources=[1])  # E
    Runtime(replace={"load": load})  # E
    Runtime(replace={load: 1})  # E


# Bodies, waits and questions.


@step(retry=Retry(3), limit=4, memory="1GB")
def careful(path: str) -> Table:
    current().metric("loss")  # E
    current().checkpointed()  # E
    current().checkpointed(1).real.foo  # E
    return Table()


@step(retry=Retry(times="3"))  # E
def wrong_retry() -> None: ...


@step(on_lost="again")  # E
def wrong_on_lost() -> None: ...


@step(store="no")  # E
def wrong_store() -> None: ...


@step(retries=3)  # E
def wrong_name() -> None: ...


@pipeline
async def body(day: str) -> Model:
    table = read(day)
    table.columns  # E
    plain(table)  # E
    scores = await asyncio.gather(score(fit(table), table), read(day))
    scores[1].keys()  # E
    scores[0].columns  # E
    await sleep()  # E
    (await within("5s", read(day))).keys()  # E
    within(read(day), "5s")  # E
    await ashore.first([read(day)])  # E
    until("tomorrow")  # E
    approval()  # E
    (await approval("deploy?")).foo  # E
    latest(fit)  # E
    (await latest(body, fit)).columns  # E
    return fit(table)  # E


@pipeline
async def whole(day: str) -> Handle[Model]:
    return read(day)  # E


async def asked(rt: Runtime) -> None:
    run_ = await rt.start(body("mon"))
    (await run_).columns  # E
    run_.columns  # E
    await rt.start(body)  # E
    await rt.start(body("mon"), name="k")  # E
    await run_.why(3)  # E
    await run_.diff()  # E
    await run_.approve(deny="yes")  # E
    careful.options(retries=1)  # E
    careful.options(key="a")("x").columns  # E
    run(body(3))  # E
    MemoryStack(clock=3)  # E
    await ManualClock().advance()  # E
    await Recorder(rt).wait_for("StepRan")  # E
    assert_resumes(body, schedules=5)  # E
    assert_resumes(body("mon"), schedules="5")  # E
