"""Resources and secrets: their own types inside the step, no arguments outside."""

from __future__ import annotations

from typing import assert_type

from ashore import Handle, Handles, Resource, Runtime, Secret, each, pipeline, resource, secret, step


class Pool:
    def rows(self, day: str) -> list[int]:
        return []


class Table: ...


@step
def load(day: str, db: Resource[Pool] = resource()) -> Table:
    assert_type(db, Pool)
    assert_type(db.rows(day), list[int])
    return Table()


@step
async def fetch(
    day: str, *, db: Resource[Pool] = resource("warehouse"), token: Secret = secret("API_TOKEN"), tries: int = 3
) -> int:
    assert_type(token, Secret)
    assert_type(token.value, str)
    return len(db.rows(token.value))


@step
def plain(day: str, db: Pool = resource()) -> Table:  # the default alone says it, too
    return Table()


@pipeline
def all_of(day: str) -> Handle[int]:
    load(day)
    return fetch(day, tries=2)


async def calls() -> None:
    assert_type(load("mon"), Handle[Table])
    assert_type(load(each(["mon", "tue"])), Handles[Table])
    assert_type(await fetch("mon"), int)
    assert_type(plain("mon"), Handle[Table])
    assert_type(await all_of("mon"), int)


async def unit_tests() -> None:
    assert_type(load.fn("mon", Pool()), Table)
    assert_type(await fetch.fn("mon", db=Pool(), token=Secret("API_TOKEN", "x")), int)


async def fakes() -> None:
    def fake(day: str) -> Table:
        return Table()

    async with Runtime(resources={"db": Pool}, secrets={"API_TOKEN": "x"}, replace={load: fake}) as rt:
        assert_type(await (await rt.start(all_of("mon"))), int)
    async with Runtime(secrets=lambda name: None) as rt:
        await rt.start(load("mon"))
