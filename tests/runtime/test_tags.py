"""Tags, and what earlier runs made as the input of later ones: the last one wins, a run keeps what it found."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ashore import GraphError, Handle, NotFound, RunFailed, Runtime, WrongArgument, latest, pipeline, step, tag
from ashore.catalogue import Catalogue, PastRun, of_stack
from ashore.faces.cli import main

pytestmark = pytest.mark.anyio


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def fit(rows: list[int]) -> dict[str, int]:
    return {"n": len(rows)}


@step
def halves(rows: list[int]) -> tuple[int, str]:
    return len(rows), "x" * len(rows)


@step
def use(model: dict[str, int] | None) -> int:
    return -1 if model is None else model["n"]


@pipeline
def train(n: int) -> Handle[dict[str, int]]:
    rows = numbers(n)
    halves(rows)
    return fit(rows)


@pipeline
def trial(n: int) -> Handle[dict[str, int]]:
    return fit(numbers(n))


@pipeline
def serve() -> Handle[int]:
    return use(latest(train, fit, tag="champion", default=None))


@pipeline
async def serve_body() -> int:
    model: dict[str, int] = await latest("train", "fit", tag="champion")
    return await use(model)


@pipeline
def newest() -> Handle[int]:
    return use(latest(train, fit))


@pipeline
def train_and_tag(n: int) -> Handle[dict[str, int]]:
    rows = numbers(n)
    _, text = halves(rows)
    tag(text, "text")
    model = fit(rows)
    tag(model, "champion")
    return model


@pipeline
async def train_and_choose(n: int) -> int:
    models = [fit(await numbers(size)) for size in (1, n, 2)]
    sizes = [(await model)["n"] for model in models]
    await tag(models[sizes.index(max(sizes))], "champion")
    return max(sizes)


@pytest.fixture
async def cat(rt: Runtime) -> AsyncIterator[Catalogue]:
    async with of_stack(rt.stack, owned=False) as catalogue:
        yield catalogue


async def trained(rt: Runtime, cat: Catalogue, n: int) -> PastRun[dict[str, int]]:
    run = await rt.start(train(n))
    await run
    found: PastRun[dict[str, int]] = await cat.run(run.id)
    return found


async def test_the_last_tagged_one_is_found_in_pipelines_of_both_kinds(rt: Runtime, cat: Catalogue) -> None:
    first, second = await trained(rt, cat, 3), await trained(rt, cat, 5)
    await tag(second[fit].out, "champion")
    await tag(first[fit].out, "champion")
    assert await serve() == 3
    assert await serve_body() == 3
    await second[fit].out.tag("champion")
    assert await serve() == 5
    assert await newest() == 5
    assert await (await cat.latest(train, fit, tag="champion")).load() == {"n": 5}


async def test_without_one_there_is_the_default_or_an_error_with_the_mend(rt: Runtime, cat: Catalogue) -> None:
    assert await serve() == -1
    await trained(rt, cat, 3)
    with pytest.raises(NotFound, match=r"nothing of fit of train is tagged 'champion'. ashore tag @last:train fit champion"):
        await cat.latest("train", "fit", tag="champion")
    with pytest.raises(RunFailed) as failed:
        await serve_body()
    assert isinstance(failed.value.failures[0], NotFound)


async def test_only_runs_that_are_done_count_without_a_tag(rt: Runtime, cat: Catalogue) -> None:
    with pytest.raises(NotFound, match="no run of train that is done is on record"):
        await cat.latest(train, fit)
    await trained(rt, cat, 4)
    assert await newest() == 4


async def test_what_a_run_found_is_recorded_and_stays(rt: Runtime, cat: Catalogue) -> None:
    first, second = await trained(rt, cat, 3), await trained(rt, cat, 5)
    await tag(first[fit].out, "champion")
    run = await rt.start(serve(), key="one")
    assert await run == 3
    await tag(second[fit].out, "champion")
    again = await rt.start(serve(), key="one")
    assert (again.id, await again) == (run.id, 3)
    found = await cat.run(run.id)
    assert await found["latest"].out.load() == {"n": 3}
    assert found["latest"].params == {"pipeline": "train", "step": "fit", "tag": "champion", "default": None}


async def test_a_reused_artifact_is_tagged_for_the_pipeline_that_it_was_found_in(rt: Runtime, cat: Catalogue) -> None:
    await (await rt.start(trial(3)))
    run = await trained(rt, cat, 3)
    assert run[fit].state == "cached"
    await run[fit].out.tag("champion")
    assert await serve() == 3
    (row,) = (await cat.sql("select pipeline, run, artifact, is_current from tags")).records()
    assert row == {"pipeline": "train", "run": run.id, "artifact": run[fit].out.id, "is_current": 1}


async def test_one_of_several_outputs_or_all_of_them(rt: Runtime, cat: Catalogue) -> None:
    run = await trained(rt, cat, 3)
    await run[halves].one.outputs[1].tag("text")
    await run[halves].out.tag("both")
    assert await (await cat.latest(train, "halves", tag="text")).load() == "xxx"
    assert await (await cat.latest(train, halves, tag="both")).load() == (3, "xxx")


async def test_a_pipeline_tags_what_it_makes(rt: Runtime, cat: Catalogue) -> None:
    run = await rt.start(train_and_tag(4))
    await run
    assert await (await cat.latest(train_and_tag, fit, tag="champion")).load() == {"n": 4}
    assert await (await cat.latest(train_and_tag, "halves", tag="text")).load() == "xxxx"
    again = await rt.start(train_and_tag(4))  # reuses all, and tags again
    await again
    found = (await cat.sql("select distinct run, artifact from tags where tag = 'champion' order by no desc")).records()
    assert [row["run"] for row in found] == [again.id, run.id]
    assert {row["artifact"] for row in found} == {(await cat.run(run.id))[fit].out.id}


async def test_a_body_chooses_what_it_tags(rt: Runtime, cat: Catalogue) -> None:
    assert await train_and_choose(7) == 7
    assert await (await cat.latest("train_and_choose", fit, tag="champion")).load() == {"n": 7}


async def test_a_call_that_made_nothing_yet_has_no_tag(rt: Runtime) -> None:
    with pytest.raises(GraphError, match=r"was called outside every pipeline.*await tag\(run\[step\]\.out, name\)"):
        tag(fit([1]), "champion")
    with pytest.raises(WrongArgument, match=r"test_tags\.py:\d+: 'a\\n' is no tag"):
        tag(fit([1]), "a\n")


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m"])
async def test_what_is_no_name_is_refused(rt: Runtime, cat: Catalogue, name: str) -> None:
    run = await trained(rt, cat, 3)
    with pytest.raises(WrongArgument, match="is no tag"):
        await run[fit].out.tag(name)


PROJECT = """
from ashore import Handle, latest, pipeline, step

@step
def fit(n: int) -> dict[str, int]:
    return {"n": n}

@pipeline
def train(n: int) -> Handle[dict[str, int]]:
    return fit(n)

@pipeline
def deploy() -> Handle[dict[str, int]]:
    return latest(train, fit, tag="champion")
"""


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASHORE_HOME", raising=False)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "tagged_here.py").write_text(PROJECT)
    try:
        for n in (1, 2):
            assert main(["run", "tagged_here.py:train", f"n={n}"]) == 0
        capsys.readouterr()
        assert main(["tag", "@last:train", "fit", "champion"]) == 0
        assert capsys.readouterr().err.endswith(" of train is 'champion' from now on\n")
        assert main(["artifacts", "--tag", "champion", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["step"] == "fit"
        assert main(["run", "tagged_here.py:deploy"]) == 0
        assert json.loads(capsys.readouterr().out) == {"n": 2}
        assert main(["log"]) == 0
        assert " of train as 'champion'\n" in capsys.readouterr().out
        assert main(["tag", "@last:train", "fit", "x", "--output", "3"]) == 4
        assert main(["tag", "@last:train", "nope", "x"]) == 4
        assert main(["tag", "@last:train", "fit", ""]) == 2
    finally:
        sys.modules.pop("tagged_here", None)
