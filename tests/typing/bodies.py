"""`async def` pipelines: what plain Python, asyncio and anyio make of handles, and what is on record beside the steps."""

from __future__ import annotations

import asyncio
import uuid as uuids
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import anyio

import ashore
from ashore import (
    Cache,
    Done,
    Handle,
    Handles,
    Items,
    Limit,
    Outputs,
    Retry,
    Run,
    Runtime,
    approval,
    current,
    each,
    first,
    fixed,
    latest,
    pipeline,
    sleep,
    step,
    strand,
    trainer,
    until,
    within,
)
from ashore.events import RunEnded, StepRan
from ashore.ids import RunId
from ashore.testing import ManualClock, MemoryStack, Recorder, Resumed, assert_resumes


class Table: ...


class Model: ...


class Parts(Outputs):
    train: Table
    test: Table


@step
def names(day: str) -> list[str]:
    return [day]


@step(retry=Retry(3, wait="1s", on=(OSError,)), deadline="1h", limit=Limit(concurrency=4, rate="10/s", key="{path}"))
async def read(path: str) -> Table:
    return Table()


@step(cache=Cache(ttl="1d", env=["TZ"]), cpus=2, memory="1GB", priority=1)
def parts(table: Table) -> Parts:
    return Parts(Table(), Table())


@trainer(gpus=1, seed=0, timeout=timedelta(hours=1))
def fit(train: Table, *, lr: float = 0.1) -> Model:
    return Model()


@step
def score(model: Model, test: Table) -> dict[str, float]:
    return {}


@step
def split(table: Table) -> tuple[Table, Model]:
    return table, Model()


def was_deployed(key: str) -> Done | None:
    return Done(None)


@step(effects=True, on_lost="hold", check=was_deployed)
async def deploy(model: Model) -> None: ...


@step
def reporting(total: int) -> int:
    here = current()
    here.metric("loss", 0.1, step=3)
    here.progress(1, total)
    done = here.checkpointed(0)
    assert_type(done, int)
    here.checkpoint(done + 1)
    here.logger.info("%s", here.key)
    return done


@step(store=False)
def opened(path: str) -> Table:
    return Table()


@pipeline
async def searched(day: str, *, tries: int = 3) -> Handle[Model]:
    tables = read(each(names(day), limit=8))
    assert_type(tables, Handles[Table])
    assert_type(await tables, Items[Table])
    async for table in tables:
        assert_type(table, Table)
    made = parts(opened(day))
    assert_type(await made, Parts)
    train, model = split(opened(day))
    assert_type(train, Handle[Table])
    assert_type(model, Handle[Model])
    models = [fit(train, lr=lr) for lr in (0.1, 0.01)]
    scores = await asyncio.gather(*(score(m, train) for m in models))
    assert_type(scores, list[dict[str, float]])
    one, other = await asyncio.gather(read("a"), fit(train))
    assert_type(one, Table)
    assert_type(other, Model)
    best = models[max(range(2), key=lambda place: scores[place]["auc"])]
    if scores[0]["auc"] > 0.9:
        await deploy(best)
    return best


@pipeline
async def waited(day: str) -> dict[str, float]:
    for future in asyncio.as_completed([read("a"), read("b")]):
        assert_type(await future, Table)
    assert_type(await asyncio.wait_for(read("a"), 5), Table)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(fit(read("a")))
    assert_type(task.result(), Model)
    async with anyio.create_task_group() as group:
        group.start_soon(read, "w")
    try:
        table = await read("a")
    except OSError:
        table = await read("b")
    assert_type(table, Table)
    return await score(fit(table), table)


@pipeline
async def timed(day: str) -> bool:
    assert_type(await sleep("1d"), None)
    await until(datetime(2030, 1, 1, tzinfo=UTC))
    assert_type(await within("5s", read(day)), Table)
    assert_type(await first(read("a"), read("b")), tuple[int, Table])
    assert_type(ashore.now(), datetime)
    assert_type(ashore.random(), float)
    assert_type(ashore.uuid(), uuids.UUID)
    with strand(day):
        await deploy(fit(read(day)))
    answer = approval("deploy?", timeout="2d")
    assert_type(answer, Handle[bool])
    return await answer


@pipeline
async def again(day: str) -> Handle[Model]:
    assert_type(latest(searched, fit), Handle[Model])
    assert_type(latest("searched", "fit", tag="champion"), Handle[Any])
    assert_type(await latest(searched, fit, default=None), Model | None)
    return fit(read(day))


@pipeline
async def outer(day: str) -> Model:
    model = searched(day, tries=2)  # a sub-run
    assert_type(model, Handle[Model])
    assert_type(await waited(day), dict[str, float])
    assert_type(await timed(day=fixed(names(day))[0]), bool)
    return await model


@pipeline
async def several(day: str) -> tuple[Handle[Table], Handle[Model]]:
    table = read(day)
    return table, fit(table)


def recursive(depth: int) -> Handle[int]:
    return down(depth)


@pipeline
async def down(depth: int) -> int:
    return 1 + await recursive(depth - 1) if depth else 0


async def runs() -> None:
    assert_type(searched("mon"), Handle[Model])
    assert_type(await searched("mon"), Model)
    assert_type(await outer("mon"), Model)
    table, model = several("mon")
    assert_type(await table, Table)
    assert_type(await model, Model)
    assert_type(await down(3), int)
    async with Runtime(MemoryStack(clock=ManualClock()), resume=[searched, several]) as rt:
        run = await rt.start(outer("mon"), key="mon")
        assert_type(run, Run[Model])
        assert_type(await run, Model)
        assert_type(run.id, RunId)
        assert_type(run.state, str)
        assert_type(run.error, Exception | None)
        assert_type(await run.wait(), str)
        assert_type(await run.approve(), str)
        async for happened in run.events(after=3):
            assert_type(happened.position, int)
        assert_type(await rt.run("7f3a"), Run[Any])
        assert_type(await run.fork(lr=0.01), Run[Model])
        print(await run.why(fit), await run.diff("7f3a"), await run.logs(fit), await run.code("fit"), (await run.verify()).notes)
    assert_type(await searched.fn("mon"), Handle[Model])
    assert_type(await fit.options(key="a", retry=0)(read("a"), lr=0.2), Model)


async def kit() -> None:
    clock = ManualClock()
    await clock.advance("7d")
    async with Runtime(MemoryStack(clock=clock)) as rt:
        events = Recorder(rt)
        assert_type(await events.wait_for(StepRan, step="fit"), StepRan)
        assert_type(await events.of(RunEnded), list[RunEnded])


def proof() -> None:
    assert_type(assert_resumes(outer("mon"), schedules=5), Resumed)


def ordered(handles: Sequence[Handle[Table]]) -> list[Handle[Model]]:
    return [fit(handle) for handle in handles]
