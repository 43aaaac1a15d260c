"""What a sub-run gives is an artifact of its own, with edges to what it was made from."""

from __future__ import annotations

from typing import Any

import pytest
from tests.runtime.bodies import inc, number

import ashore
from ashore import Handle, Runtime, pipeline, step

pytestmark = pytest.mark.anyio


@step
async def words(n: int) -> list[str]:
    return ["word"] * n


@step
async def report(parts: list[str]) -> str:
    return " ".join(parts)


@pipeline
async def hands_a_handle_on() -> Handle[list[str]]:
    return words(3)


@pipeline
async def hands_a_value_on() -> list[str]:
    await number(1)
    return await words(3)


@pipeline
async def hands_several_on() -> dict[str, Any]:
    return {"words": words(3), "more": [inc(1), 5]}


@pipeline
async def makes_its_own() -> list[str]:
    await number(1)
    return [*await words(3), "of my own"]


@pipeline
async def hands_a_sub_runs_on() -> list[str]:
    return await hands_a_value_on()


@pipeline
async def whole(sub: str) -> str:
    bodies: dict[str, Any] = {body.name: body for body in SUBS}
    return await report(["so", str(await bodies[sub]())])


SUBS = [hands_a_handle_on, hands_a_value_on, hands_several_on, makes_its_own, hands_a_sub_runs_on]

EDGES = """
select e.kind, e.argument, source.step as source from edges e
join artifacts a on a.id = e.target join artifacts source on source.id = e.source
where a.step = ? order by e.kind, e.argument, source.step
"""


@pytest.mark.parametrize(
    ("sub", "edges"),
    [
        ("hands_a_handle_on", [("made", "result", "words")]),
        ("hands_a_value_on", [("made", "result", "words")]),
        ("hands_several_on", [("made", "result['more'][0]", "inc"), ("made", "result['words']", "words")]),
        ("makes_its_own", [("flagged", "", "number"), ("flagged", "", "words")]),
        ("hands_a_sub_runs_on", [("made", "result", "hands_a_value_on")]),
    ],
)
async def test_the_output_of_a_sub_run_comes_from_what_it_handed_on(
    rt: Runtime, home: Any, sub: str, edges: list[tuple[str, str, str]]
) -> None:
    run = await rt.start(whole(sub))
    await run
    async with await ashore.open(home) as catalogue:
        assert [tuple(row) for row in (await catalogue.sql(EDGES, [sub])).rows] == edges
