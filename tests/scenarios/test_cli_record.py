"""`ashore artifacts`, `cat`, `doctor` and `cancel`: what is on record, looked at and put right from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ashore.faces.cli import main

PATIENCE = 60.0

PIPELINES = """
import time
from pathlib import Path
from ashore import Handle, each, pipeline, step

class Mine:
    pass

@step
def numbers(n: int) -> list[int]:
    return list(range(n))

@step
def both(numbers: list[int], name: str) -> tuple[int, str]:
    return sum(numbers), f"{name}\\x1b[31m\\nof many"

@step(cache=True)
def twice(n: int) -> int:
    return n

@step
def doubled(n: int) -> int:
    return 2 * n

@step
def picture(numbers: list[int]) -> bytes:
    return bytes(numbers) + b"\\x1b\\0"

@step
def config(numbers: list[int]) -> dict[str, object]:
    return {"a": numbers, "é": (None, 1.5)}

@pipeline
def make(n: int = 4) -> Handle[int]:
    many = numbers(n)
    picture(many), config(many), doubled(each([1, 2])), twice(1), twice(2)
    total, _ = both(many, "name")
    return total

@step
async def waits() -> int:
    import anyio
    await anyio.sleep(600)
    return 1

@step
def after(n: int) -> int:
    return n

@pipeline
def wait() -> Handle[int]:
    return after(waits())

@step(effects=True)
async def charges() -> int:
    import anyio
    await anyio.sleep(600)
    return 1

@pipeline
def pay() -> Handle[int]:
    return after(charges())
"""

Ashore = Callable[..., Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which `make` ran twice."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").touch()
    (root / "p.py").write_text(PIPELINES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("ASHORE_HOME", raising=False)
        for _ in range(2):
            assert main(["run", "p.py:make"]) == 0
        yield root
    sys.modules.pop("p", None)


@pytest.fixture
def ashore(root: Path, capfd: pytest.CaptureFixture[str]) -> Ashore:
    def run(*words: str, code: int = 0) -> Any:
        capfd.readouterr()
        assert main(list(words)) == code
        said = capfd.readouterr()
        assert "\x1b" not in said.err
        return said

    return run


def records(said: Any) -> list[Any]:
    return [json.loads(line) for line in said.out.splitlines()]


# --- artifacts ---


def test_artifacts_are_listed_with_what_they_are(ashore: Ashore) -> None:
    lines = ashore("artifacts").out.splitlines()
    assert lines[0].split() == ["ARTIFACT", "STEP", "TYPE", "SIZE", "DIGEST", "RUN", "MADE"]
    assert len(lines) == 1 + 10
    (of_text,) = [line for line in lines if "both[1]" in line]
    assert " str " in of_text
    assert "sha256-" in of_text


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["--step", "picture"], ["picture"]),
        (["--type", "BYTE"], ["picture"]),
        (["--pipeline", "nothing"], []),
        (["@last", "--step", "both"], ["both", "both"]),
        (["-n", "1", "@last"], ["numbers"]),
    ],
)
def test_artifacts_are_chosen_by_filters(ashore: Ashore, words: list[str], steps: list[str]) -> None:
    assert [record["step"] for record in records(ashore("artifacts", "--json", *words))] == steps


def test_what_a_run_reused_is_among_its_artifacts_and_says_so(ashore: Ashore) -> None:
    found = {record["step"]: record["kind"] for record in records(ashore("artifacts", "@last", "--json"))}
    assert found == {
        "numbers": "output",
        "twice": "reused",
        "both": "reused",
        "picture": "reused",
        "config": "reused",
        "doubled": "elements",
    }
    assert " (reused)" in ashore("artifacts", "@last").out


def test_artifacts_are_found_by_the_beginning_of_their_digest(ashore: Ashore) -> None:
    (one,) = records(ashore("artifacts", "--step", "config", "--json"))
    for written in (one["digest"], one["digest"][:20], one["digest"].removeprefix("sha256-")[:8]):
        assert records(ashore("artifacts", "--digest", written, "--json")) == [one]
    assert ashore("artifacts", "--digest", "0000000000").err == "no such artifact is on record\n"


# --- cat ---


def test_values_are_printed_as_what_they_are(ashore: Ashore) -> None:
    assert ashore("cat", "@last", "numbers").out == "[\n  0,\n  1,\n  2,\n  3\n]\n"
    assert ashore("cat", "@last", "both", "--output", "1").out == "name\\x1b[31m\nof many\n"
    assert ashore("cat", "@last", "both").out == "[0] 6\n[1] name\\x1b[31m\nof many\n"
    assert ashore("cat", "@last:doubled").out == "[0] 2\n[1] 4\n"
    assert json.loads(ashore("cat", "@last", "config").out) == {"a": [0, 1, 2, 3], "é": [None, 1.5]}


def test_the_id_that_a_list_shows_names_the_value(ashore: Ashore) -> None:
    listed = ashore("artifacts", "--step", "both").out.splitlines()[2].split()[0]
    assert ashore("cat", listed).out.startswith("name")
    record = json.loads(ashore("cat", listed, "--json").out)
    assert (record["step"], record["output"], record["value"]) == ("both", 1, "name\x1b[31m\nof many")


def test_one_of_many_calls_is_named_by_its_id(ashore: Ashore) -> None:
    ids = [record["id"] for record in records(ashore("artifacts", "@last", "--step", "twice", "--json"))]
    assert [ashore("cat", "@last", id[:8]).out for id in ids] == ["1\n", "2\n"]
    said = ashore("cat", "@last", "twice", code=4).err
    assert said.endswith(" --step twice\n")
    assert "Name one by its id: ashore artifacts " in said
    assert ashore("tag", "@last", ids[1][:8], "second").err.endswith(" is 'second' from now on\n")
    (tagged,) = records(ashore("artifacts", "--tag", "second", "--json"))
    assert tagged["id"] == ids[1]


def test_raw_gives_the_bytes_themselves_and_never_to_a_terminal(root: Path) -> None:
    def raw(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "ashore", "cat", *words, "--raw"]
        return subprocess.run(command, cwd=root, timeout=PATIENCE, check=False, **options)

    assert raw("@last", "picture", capture_output=True).stdout == bytes(range(4)) + b"\x1b\0"
    assert raw("@last", "both", "--output", "1", capture_output=True).stdout == b"name\x1b[31m\nof many"
    several = raw("@last", "both", capture_output=True)
    assert (several.returncode, several.stdout) == (2, b"")
    assert b"both gave 2 values, and --raw writes one. Choose one by --output" in several.stderr
    ours, theirs = os.openpty()
    try:
        refused = raw("@last", "picture", stdout=theirs, stderr=subprocess.PIPE)
    finally:
        os.close(theirs)
    assert refused.returncode == 2
    assert b"Write them to a file or a pipe" in refused.stderr
    os.close(ours)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["@last", "nope"], 4, "has no step 'nope'. It has "),
        (["zzz"], 4, "'zzz' is no artifact, step or file on record"),
        (["@last", "twice"], 4, "twice was called 2 times in run"),
        (["@last", "both", "--output", "2"], 4, "no artifact"),
        (["@last", "both", "--output", "-1"], 2, "Invalid value"),
    ],
)
def test_what_cannot_be_printed_is_said(ashore: Ashore, words: list[str], code: int, said: str) -> None:
    refused = ashore("cat", *words, code=code)
    assert said in refused.err
    assert refused.out == ""


def test_tables_are_printed_by_their_first_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "tables_here.py").write_text(TABLES)
    try:
        assert main(["run", "tables_here.py:tables"]) == 0
        for step, heads in (("pandas_frame", ["", "x", "y\\x1b"]), ("polars_frame", ["x", "y\\x1b"]), ("arrow_table", ["x"])):
            capfd.readouterr()
            assert main(["cat", "@last", step, "-n", "2"]) == 0
            lines = capfd.readouterr().out.splitlines()
            assert lines[0].split() == [head for head in heads if head]
            assert len(lines) == 2 + 2 + 1
            assert lines[-1].startswith("5 rows, ")
            assert lines[-1].endswith(", 3 not shown")
            assert main(["cat", "@last", step, "-n", "1", "--json"]) == 0
            shown = json.loads(capfd.readouterr().out)["value"]
            assert shown["count"] == 5
            assert shown["rows"][0][-1] in ("a\x1b[31m", 0)
        assert main(["cat", "@last", "array"]) == 0
        assert "shape (3,), dtype float64" in capfd.readouterr().out
    finally:
        sys.modules.pop("tables_here", None)


TABLES = """
import numpy as np, pandas as pd, polars as pl, pyarrow as pa
from ashore import Handle, pipeline, step

DATA = {"x": list(range(5)), "y\\x1b": ["a\\x1b[31m"] * 5}

@step
def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(DATA)

@step
def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(DATA)

@step
def arrow_table() -> pa.Table:
    return pa.table({"x": DATA["x"]})

@step
def array() -> np.ndarray:
    return np.zeros(3)

@pipeline
def tables() -> Handle[list[object]]:
    return [pandas_frame(), polars_frame(), arrow_table(), array()]
"""


# --- doctor ---


def checks(said: Any) -> dict[str, Any]:
    return {check["check"]: check for check in json.loads(said.out)["checks"]}


def test_a_home_that_is_well_is_said_to_be_so(ashore: Ashore) -> None:
    said = ashore("doctor")
    assert said.err == "all is well\n"
    assert {line.split()[0] for line in said.out.splitlines()} == {"ok"}
    found = checks(ashore("doctor", "--json"))
    assert {"versions", "home", "permissions", "file system", "disk space", "watching", "log", "log's end", "index"} <= set(found)
    assert found["index"]["what"].endswith("as the log")


def test_what_is_wrong_is_said_with_the_mend(root: Path, ashore: Ashore) -> None:
    (root / ".ashore").chmod(0o777)
    try:
        said = ashore("doctor", code=1)
    finally:
        (root / ".ashore").chmod(0o700)
    assert "problem  permissions  others may write in" in said.out
    assert f"chmod go-w {root}/.ashore" in said.out
    assert said.err == "1 problem\n"


def test_a_damaged_home_is_a_finding_not_a_crash(root: Path, ashore: Ashore) -> None:
    segment = root / ".ashore" / "log" / "segments" / "00000001"
    whole = segment.read_bytes()
    (root / ".ashore" / "index").rename(root / "index-aside")
    segment.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    try:
        found = checks(ashore("doctor", "--json", code=1))
    finally:
        segment.write_bytes(whole)
    problems = [check for check in found.values() if check["state"] == "problem"]
    assert problems
    assert all(check["mend"] for check in problems)
    (root / ".ashore" / "format.json").rename(root / "format-aside")
    (root / ".ashore" / "format.json").write_text("{")
    try:
        found = checks(ashore("doctor", "--json", code=1))
    finally:
        (root / "format-aside").rename(root / ".ashore" / "format.json")
    assert "is damaged" in found["home"]["what"]


# --- cancel ---


def begun(root: Path, pipeline: str = "wait") -> subprocess.Popen[str]:
    """A process that drives a run, once that has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ashore", "run", f"p.py:{pipeline}"],
        cwd=root,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " started" in line:
            break
    return process


@pytest.fixture
def driver(root: Path) -> Iterator[subprocess.Popen[str]]:
    process = begun(root)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_a_run_of_another_process_is_cancelled(ashore: Ashore, driver: subprocess.Popen[str]) -> None:
    said = ashore("cancel", "@last")
    assert said.err.endswith(" of wait is cancelled\n")
    assert driver.wait(PATIENCE) == 1
    again = json.loads(ashore("cancel", "@last", "--json").out)
    assert (again["was"], again["state"]) == ("cancelled", "cancelled")
    assert json.loads(ashore("show", "@last", "--json").out)["state"] == "cancelled"


def test_a_run_whose_process_died_is_ended_here(root: Path, ashore: Ashore, driver: subprocess.Popen[str]) -> None:
    driver.send_signal(signal.SIGKILL)
    driver.wait(PATIENCE)
    found = checks(ashore("doctor", "--json", code=1))["runs"]
    assert "1 run that nobody drives" in found["what"]
    assert "ashore cancel RUN" in found["mend"]
    assert ashore("cancel", "@last:wait").err.endswith(" of wait is cancelled\n")
    shown = json.loads(ashore("show", "@last", "--json").out)
    assert shown["state"] == "cancelled"
    assert {step["state"] for step in shown["steps"]} <= {"cancelled", "skipped"}
    assert shown["pid"] == os.getpid()
    assert ashore("doctor").err == "all is well\n"
    assert ashore("log", "verify").err.endswith("no damage\n")


def test_a_run_that_is_held_is_told_of_and_cancelled(root: Path, ashore: Ashore) -> None:
    process = begun(root, "pay")
    while '"StepStarted"' not in ashore("log", "@last:pay", "--json").out:
        assert process.poll() is None
    process.kill()
    process.communicate()
    main(["resume", "@last:pay"])
    assert json.loads(ashore("show", "@last:pay", "--json").out)["state"] == "held"
    said = ashore("doctor")
    assert " of pay is held: " in said.out
    assert "note     runs" in said.out
    assert ashore("cancel", "@last:pay").err.endswith(" of pay is cancelled\n")
    assert json.loads(ashore("show", "@last:pay", "--json").out)["state"] == "cancelled"
    assert {line.split()[0] for line in ashore("doctor").out.splitlines()} == {"ok"}


def test_what_is_over_stays_as_it_is(ashore: Ashore) -> None:
    assert ashore("cancel", "@last:make").err.endswith(" of make is over already: done\n")
    assert "no run 'feed' is on record" in ashore("cancel", "feed", code=4).err
