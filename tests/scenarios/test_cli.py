"""The command line as people run it: processes of their own, exit codes, signals, pipes, no terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds after which a process that does not end fails the test."""

PIPELINES = """
import time
from pathlib import Path
from ashore import File, Handle, each, pipeline, step

def executed(what: str) -> None:
    with open("executed", "a") as executed:
        executed.write(f"{what}\\n")

@step
def read(file: File) -> int:
    print("reading a file")
    executed("read")
    return int(Path(file.path).read_text())

@step
def total(numbers: list[int], lr: float = 0.5) -> dict[str, int]:
    executed("total")
    return {"total": sum(numbers)}

@pipeline
def grow(files: list[File]) -> Handle[dict[str, int]]:
    return total(read(each(files, on_error="skip")))

@step
def boom(n: int) -> int:
    raise ValueError(f"no rows \\x1b[31min {n}\\nat all")

@step
def after(n: int) -> int:
    return n

@pipeline
def fails(n: int = 3) -> Handle[int]:
    return after(boom(n))

@step
def waits() -> int:
    executed("waits")
    while not Path("go").exists():
        time.sleep(0.01)
    return 1

@pipeline
def wait() -> Handle[int]:
    return after(waits())

@step
async def blocks() -> int:
    executed("blocks")
    time.sleep(600)
    return 1

@pipeline
def wired(n: int = 0) -> Handle[int]:
    raise ValueError("n is too small")
"""


class Project:
    """A folder with pipelines, and `ashore` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {name: value for name, value in os.environ.items() if name not in ("ASHORE_HOME", "FORCE_COLOR")}

    def command(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "ashore", *words]

    def ashore(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which must be this one."""
        ended = subprocess.run(
            self.command(words), cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert ended.returncode == code, ended
        assert "\x1b" not in ended.stdout + ended.stderr
        return ended

    def record(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.ashore(*words, "--json", code=code).stdout)

    def records(self, *words: str) -> list[Any]:
        return [json.loads(line) for line in self.ashore(*words, "--json").stdout.splitlines()]

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(words), cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def executed(self) -> list[str]:
        path = self.root / "executed"
        return path.read_text().split() if path.exists() else []


def made(root: Path) -> Project:
    (root / "pyproject.toml").touch()
    (root / "p.py").write_text(PIPELINES)
    (root / "inbox").mkdir()
    for name, content in (("1.csv", "1"), ("2.csv", "2"), ("b\x1b[31m ad\n.csv", "x"), (os.fsdecode(b"z\xff.csv"), "3")):
        (root / "inbox" / name).write_text(content)
    return Project(root)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return made(tmp_path)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A home in which something happened: a run, the same again, one that failed."""
    project = made(tmp_path_factory.mktemp("history"))
    first = project.ashore("run", "p.py:grow", "files=inbox/*.csv")
    assert json.loads(first.stdout) == {"total": 6}
    assert first.stderr.startswith(f"new home: {project.root}/.ashore\n")
    assert "  inbox/b\\x1b[31m ad\\n.csv failed: ValueError: invalid literal" in first.stderr
    assert re.search(r"^  read done in .*: 4 elements, 3 ran, 1 failed$", first.stderr, re.MULTILINE)
    again = project.ashore("run", "p.py:grow", "files=inbox/*.csv")
    assert "new home" not in again.stderr
    assert re.search(r"^  total cached from run [0-9a-f]{8}$", again.stderr, re.MULTILINE)
    assert project.executed() == ["read"] * 4 + ["total"] + ["read"]  # what failed is tried again, nothing else
    project.ashore("run", "p.py:fails", code=1)
    return project


# --- running ---


def test_a_failed_run_says_where_in_the_users_code(project: Project) -> None:
    ended = project.ashore("run", "p.py:fails", "n=7", code=1)
    assert ended.stdout == ""
    assert "boom failed in" in ended.stderr
    assert "ValueError: no rows \\x1b[31min 7 (" in ended.stderr
    assert f'File "{project.root}/p.py", line' in ended.stderr
    assert "after skipped because of boom" in ended.stderr
    assert "/ashore/" not in ended.stderr.replace("/.ashore/", "")
    record = project.record("run", "p.py:fails", code=1)
    assert (record["state"], record["errors"][0]["step"], record["errors"][0]["type"]) == ("failed", "boom", "builtins.ValueError")


def test_json_is_one_object_whatever_steps_print(project: Project) -> None:
    record = project.record("run", "p.py:grow", "files=inbox/*.csv")
    assert record["result"] == {"total": 6}
    assert record["counts"] == {"ran": 4, "cached": 0, "failed": 1, "skipped": 0, "cancelled": 0}
    assert [left["name"] for left in record["left_out"]] == ["inbox/b\x1b[31m ad\n.csv"]


def test_a_key_is_run_once(project: Project) -> None:
    one = project.record("run", "p.py:after", "n=1", "--key", "k")
    other = project.record("run", "p.py:after", "n=1", "--key", "k")
    assert (one["run"], one["result"]) == (other["run"], other["result"])
    conflict = project.ashore("run", "p.py:after", "n=2", "--key", "k", code=2)
    assert "the key 'k' is taken by run" in conflict.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["gone.py:x"], 2, "there is no file"),
        (["p.py:gorw"], 2, "did you mean 'grow'?"),
        (["p.py"], 2, "write FILE.py:NAME"),
        (["p.py:grow", "file=x"], 2, "Did you mean `files`?"),
        (["p.py:fails", "n=many"], 2, "n='many' is no int"),
        (["p.py:grow", "files=inbox/gone.csv"], 4, "inbox/gone.csv"),
        (["p.py:wired"], 1, "ValueError: n is too small"),
        (["broken.py:x"], 2, "broken.py cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_run_is_said(project: Project, words: list[str], code: int, said: str) -> None:
    (project.root / "broken.py").write_text("x = 1\ny = x / 0\n")
    ended = project.ashore("run", *words, code=code)
    assert said in ended.stderr
    assert ended.stdout == ""
    if words[0].startswith("broken"):
        assert f'File "{project.root}/broken.py", line 2' in ended.stderr
    assert ("Traceback" in ended.stderr) == (words[0] in ("broken.py:x", "p.py:wired"))


def test_a_home_that_cannot_be_made_is_said(project: Project) -> None:
    (project.root / "taken").write_text("")
    ended = project.ashore("run", "p.py:after", "n=1", "--home", "taken/home", code=3)
    assert re.fullmatch(r"ashore: .*taken/home cannot be used: .*\n", ended.stderr)


# --- being interrupted ---


def begun(project: Project, process: subprocess.Popen[str], what: str) -> None:
    """Wait until a step runs."""
    assert process.stderr is not None
    while what not in project.executed():
        assert process.poll() is None, process.stderr.read()


def test_ctrl_c_cancels_the_run_and_leaves_the_home_sound(project: Project) -> None:
    process = project.begin("run", "p.py:wait")
    begun(project, process, "waits")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "cancelling run" not in process.stderr.readline():
        assert process.poll() is None
    (project.root / "go").touch()  # a thread is waited for
    _, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "waits cancelled" in rest
    assert "after skipped" in rest
    assert "cancelled in" in rest
    assert "0 cached, 1 skipped, 1 cancelled" in rest
    (run,) = project.records("runs")
    assert run["state"] == "cancelled"
    states = {step["step"]: step["state"] for step in project.record("show", "@last")["steps"]}
    assert states == {"waits": "cancelled", "after": "skipped"}
    project.ashore("log", "verify")


def test_ctrl_c_twice_ends_at_once_even_while_a_step_blocks_the_loop(project: Project) -> None:
    process = project.begin("run", "p.py:blocks")
    begun(project, process, "blocks")
    while not project.records("runs"):  # nobody waits for a start to be written; here it must be, before the process is ended
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    while process.poll() is None:  # a second one that comes before the first was heard is the same one
        process.send_signal(signal.SIGINT)
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode == 130
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert "1 event" not in project.ashore("log", "verify").stderr
    (run,) = project.records("runs")
    assert (run["state"], run["driven"]) == ("running", False)
    assert "running (no owner)" in project.ashore("runs").stdout
    shown = project.ashore("show", "@last").stdout
    assert re.search(r"running \(no owner\)\n  to go on +serve its pipeline, or open a Runtime\(resume=\[...\]\)", shown)


def test_ctrl_c_while_waiting_for_a_run_of_another_process_leaves_that_run_alone(project: Project) -> None:
    driver = project.begin("run", "p.py:wait", "--key", "k")
    begun(project, driver, "waits")
    waiter = project.begin("run", "p.py:wait", "--key", "k")
    assert waiter.stderr is not None
    while "started" not in waiter.stderr.readline():
        assert waiter.poll() is None
    waiter.send_signal(signal.SIGINT)
    _, said = waiter.communicate(timeout=PATIENCE)
    assert waiter.returncode == 130
    assert "the process that drives it goes on" in said
    (project.root / "go").touch()
    out, _ = driver.communicate(timeout=PATIENCE)
    assert (driver.returncode, out) == (0, "1\n")
    assert project.executed() == ["waits"]


# --- looking ---


def test_runs_are_listed_the_newest_first(history: Project) -> None:
    lines = history.ashore("runs").stdout.splitlines()
    assert lines[0].split() == ["RUN", "PIPELINE", "STATE", "STARTED", "TOOK", "STEPS"]
    assert [line.split()[1:3] for line in lines[1:]] == [["fails", "failed"], ["grow", "done"], ["grow", "done"]]
    assert "boom: ValueError: no rows \\x1b[31min 3" in lines[1]
    records = history.records("runs", "--pipeline", "grow", "-n", "1")
    assert [(run["pipeline"], run["counts"]) for run in records] == [("grow", {"cached": 1, "done": 1})]
    assert history.records("runs", "--state", "running") == []


def test_a_run_is_shown(history: Project) -> None:
    text = history.ashore("show", "@last:grow").stdout
    first, second = (run["run"][:8] for run in history.records("runs", "--pipeline", "grow")[::-1])
    assert text.startswith(f"run {second} of grow: done in ")
    assert f"total(lr=0.5)  cached from run {first}\n└─ read  done in " in text
    assert ": 4 elements, 3 cached, 1 failed\n        inbox/b\\x1b[31m ad\\n.csv: ValueError: invalid literal" in text
    assert "  target       p.py:grow\n" in text
    assert "file         inbox/z\\udcff.csv (1 byte, sha256-" in text
    failed = history.ashore("show").stdout
    assert "after  skipped because of boom\n└─ boom(n=3)  failed in" in failed
    assert failed.count(f'File "{history.root}/p.py", line') == 1


def test_a_run_is_shown_as_one_object(history: Project) -> None:
    run = history.record("show", "@last:grow")
    assert [step["step"] for step in run["steps"]] == ["read", "total"]
    assert run["steps"][1]["made_from"] == [run["steps"][0]["id"]]
    assert [left["name"] for left in run["steps"][0]["elements"]["left_out"]] == ["inbox/b\x1b[31m ad\n.csv"]
    assert len(run["files"]) == 4


def test_the_log_is_one_event_a_line(history: Project) -> None:
    events = history.records("log")
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    runs = [event["run"] for event in events if event["event"] == "RunStarted"]
    fresh = [
        event.get("step")
        for event in events
        if event["event"] in ("StepRan", "StepFailed") and event["run"] == runs[1] and not event.get("reused_run")
    ]
    assert fresh == ["read"]  # a fan-out, of which one element ran
    assert next(event for event in events if event["event"] == "RunEnded")["result"] == {"total": 6}
    lines = history.ashore("log").stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == [event["position"] for event in events]


def test_the_log_of_a_run_from_a_position_on(history: Project) -> None:
    whole = history.records("log", "@last:grow")
    assert {event["run"] for event in whole} == {whole[0]["run"]}
    middle = whole[2]["position"]
    assert history.records("log", whole[0]["run"][:9], "--after", str(middle)) == whole[3:]
    rest = history.records("log", "--after", str(middle))
    assert (rest[0]["position"], rest[0].get("step")) == (middle + 1, whole[3].get("step"))
    assert "position 100000 is not in the log" in history.ashore("log", "--after", "100000", code=4).stderr


def test_following_a_run_ends_with_it(history: Project) -> None:
    assert history.records("log", "-f", "@last:grow") == history.records("log", "@last:grow")


def test_following_the_log_tells_what_comes_and_ends_by_ctrl_c(project: Project) -> None:
    project.ashore("run", "p.py:after", "n=1")
    process = project.begin("log", "-f", "--json")
    assert process.stdout is not None
    told = [json.loads(process.stdout.readline())["event"]]
    project.ashore("run", "p.py:after", "n=2")
    while told.count("RunEnded") < 2:
        told.append(json.loads(process.stdout.readline())["event"])
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (130, "")


def test_lineage_up_and_down_by_step_by_id_and_by_file(history: Project) -> None:
    up = history.ashore("lineage", "@last:grow:total").stdout.splitlines()
    assert (up[0][:6], up[1][:8], len(up)) == ("total ", "└─ read ", 6)
    assert all(re.match(r"   [├└]─ inbox/.*  file-[0-9a-f]{8}, 1 byte", line) for line in up[2:])
    down = history.ashore("lineage", "inbox/1.csv", "--down").stdout
    assert re.match(r"inbox/1\.csv .*\n[├└]─ read .*\n.*└─ total ", down)
    record = history.record("lineage", "@last:grow:total")
    assert record["artifact"].pop("kind") == "reused"
    by_id = history.record("lineage", record["artifact"]["id"])
    assert by_id["artifact"].pop("kind") == "made"
    assert by_id == record
    assert len([one for one in record["ancestors"] if one["id"].startswith("file-")]) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "@last:nothing"], "no run of nothing is on record"),
        (["show", "0123456789"], "no run '0123456789' is on record"),
        (["show", "fit"], "is no run id"),
        (["log", "@last:nothing"], "no run of nothing is on record"),
        (["lineage", "@last:grow:fit"], "has no step 'fit'. It has read, total"),
        (["lineage", "gone.csv"], "is no artifact, step or file on record"),
    ],
)
def test_what_is_not_there_is_four(history: Project, words: list[str], said: str) -> None:
    ended = history.ashore(*words, code=4)
    assert said in ended.stderr
    assert ended.stdout == ""


def test_sql(history: Project) -> None:
    assert history.records("sql", "select pipeline, count(*) as runs from runs group by 1 order by 1") == [
        {"pipeline": "fails", "runs": 1},
        {"pipeline": "grow", "runs": 2},
    ]
    assert history.ashore("sql", "select 1 as one, null as none").stdout == "one  none\n1\n"
    assert "no such column" in history.ashore("sql", "select nonsense", code=2).stderr
    assert "only be read" in history.ashore("sql", "delete from run", code=2).stderr


def test_the_index_is_made_anew(history: Project) -> None:
    before = history.ashore("show", "@last").stdout
    record = history.record("index", "rebuild")
    assert (record["runs"], record["behind"]) == (3, 0)
    assert history.ashore("show", "@last").stdout == before


def test_a_reader_that_leaves_is_no_trouble(history: Project) -> None:
    for words in (
        ["log", "--json"],
        ["sql", "with recursive n (x) as (select 1 union all select x + 1 from n limit 50000) select x from n"],
    ):
        process = history.begin(*words)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(PATIENCE) == 0


# --- damage ---


def flip_byte(path: Path, choose: Callable[[bytearray], int]) -> None:
    data = bytearray(path.read_bytes())
    data[choose(data)] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_damage_in_the_log_and_in_artifacts_is_listed(project: Project) -> None:
    (project.root / "big.py").write_text(
        "from ashore import step\n@step\ndef big() -> bytes:\n    return bytes(range(256)) * 1000\n"
        "@step\ndef other() -> bytes:\n    return bytes(100_000)\n"
    )
    project.ashore("run", "big.py:big")
    project.ashore("run", "big.py:other")
    whole = project.record("log", "verify")
    assert (whole["whole"], whole["artifacts"]) == (True, 2)
    one, other = sorted((project.root / ".ashore" / "artifacts").glob("??/sha256-*"))
    flip_byte(one, lambda data: len(data) // 2)
    other.unlink()
    found = project.record("log", "verify", code=1)["damages"]
    assert [damage["path"].rpartition("/")[2] for damage in found] == [one.name, other.name]
    assert "is missing" in found[1]["what"]
    flip_byte(next((project.root / ".ashore" / "log").rglob("00000001")), lambda data: data.index(b"big.py"))
    found = project.record("log", "verify", code=1)["damages"]
    assert (found[0]["segment"], found[0]["offset"] > 0) == ("00000001", True)
    text = project.ashore("log", "verify", code=1)
    assert f"at offset {found[0]['offset']}" in text.stdout
    assert "damage" in text.stderr


# --- serving ---


def test_serve_hands_over_to_the_daemon(project: Project) -> None:
    assert "has no pipeline with a trigger" in project.ashore("serve", "p.py", code=2).stderr
    (project.root / "s.py").write_text(
        "from ashore import File, Handle, new, pipeline, step\n@step\ndef name(file: File) -> str:\n    return file.name\n"
        '@pipeline(on=new("arrivals/*"))\ndef one(file: File) -> Handle[str]:\n    return name(file)\n'
    )
    process = project.begin("serve", "s.py", "--home", "elsewhere")
    assert process.stderr is not None
    assert "serving one on arrivals/*" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert (project.root / "elsewhere" / "format.json").exists()
