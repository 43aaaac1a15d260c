"""The command line where no run is needed: what help costs, where options may stand, what errors become."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import ashore_stores.errors as stores
from ashore.catalogue import NotFound
from ashore.errors import AshoreError, HomeError, InternalError, KeyConflict, RunCancelled, RunFailed, TargetError, WrongArgument
from ashore.faces.cli import main
from ashore.faces.cli.commands import commands
from ashore.faces.cli.settings import FAILED, NOT_FOUND, TRANSIENT, USAGE, Settings
from ashore.faces.cli.troubles import NoHome, exit_code, first_of, message, tell, users_traceback
from ashore_stores.index.base import BadQuery

HELPS = [
    [],
    ["run"],
    ["serve"],
    ["runs"],
    ["show"],
    ["why"],
    ["diff"],
    ["code"],
    ["debug"],
    ["verify"],
    ["reproduce"],
    ["export"],
    ["fork"],
    ["log"],
    ["log", "verify"],
    ["lineage"],
    ["check"],
    ["cancel"],
    ["artifacts"],
    ["cat"],
    ["tag"],
    ["doctor"],
    ["sql"],
    ["index"],
    ["index", "rebuild"],
]

LOADED = """
import sys
import ashore
before = set(sys.modules)
from ashore.faces.cli import main
for words in {helps}:
    assert main([*words, "--help"]) == 0, words
new = {{name for name in set(sys.modules) - before if name.partition(".")[0] not in sys.stdlib_module_names}}
print(*sorted(new), file=sys.stderr)
"""


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASHORE_HOME", raising=False)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_no_help_loads_anything_but_click_and_the_words_of_the_commands() -> None:
    code = LOADED.format(helps=HELPS)
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr.split()
    ours = [name for name in loaded if name.partition(".")[0] != "click"]
    allowed = {"ashore.faces", "ashore.faces.cli", *(f"ashore.faces.cli.{name}" for name in ("commands", "main", "settings"))}
    assert set(ours) <= allowed
    assert len(loaded) < 40


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_every_command_has_help_and_takes_the_shared_options(words: list[str]) -> None:
    shown = CliRunner().invoke(commands, [*words, "--help"]).output
    assert "Usage:" in shown
    assert "--home" in shown
    assert ("--json" in shown) == (words != ["serve"])


@pytest.mark.parametrize(
    "words",
    [
        ["--home", "there", "runs"],
        ["runs", "--home", "there"],
        ["--home", "x", "runs", "--home", "there"],
        ["index", "--home", "there", "rebuild"],
    ],
)
def test_options_may_stand_before_the_command_or_after_it(
    empty: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == NOT_FOUND
    said = capsys.readouterr()
    assert said.err.startswith(f"ashore: there is no ashore home at {empty}/there")
    assert said.out == ""


@pytest.mark.parametrize(
    "words",
    [
        ["log", "verify"],
        ["log", "verify", "--json"],
        ["log", "--json", "verify"],
        ["log", "--home", "{home}", "verify"],
        ["--json", "log", "verify", "--home", "{home}"],
    ],
)
def test_log_verify_is_a_command_of_its_own(empty: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (empty / ".ashore").mkdir()
    (empty / ".ashore" / "format.json").write_text('{"format": 1, "digest": "sha256", "id": "1"}')
    assert main([word.format(home=empty / ".ashore") for word in words]) == 0
    said = capsys.readouterr()
    if "--json" in words:
        assert json.loads(said.out) == {"damages": [], "events": 0, "artifacts": 0, "whole": True}
    else:
        assert said.err == "0 events, 0 artifacts: no damage\n"


@pytest.mark.parametrize(
    "words", [["rnu"], ["run"], ["runs", "-n", "0"], ["runs", "--state", "odd"], ["serve"], ["log", "--after", "-1"]]
)
def test_wrong_usage_is_two(empty: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == USAGE
    said = capsys.readouterr()
    assert "Error:" in said.err
    assert not (empty / ".ashore").exists()


def test_looking_makes_no_home(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["runs"],
        ["show"],
        ["log"],
        ["log", "verify"],
        ["lineage", "x"],
        ["cancel", "@last"],
        ["artifacts"],
        ["cat", "x"],
        ["doctor"],
        ["sql", "select 1"],
        ["index", "rebuild"],
    ):
        assert main(words) == NOT_FOUND, words
        assert "Run a pipeline first, or name a home" in capsys.readouterr().err
    assert sorted(os.listdir(empty)) == ["pyproject.toml"]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ashore 0.")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailed("run failed", [ValueError("x")]), FAILED),
        (RunCancelled("cancelled"), FAILED),
        (InternalError("ours"), FAILED),
        (stores.Corrupt("a flipped byte"), FAILED),
        (ValueError("of the user's own"), FAILED),
        (TargetError("no such file"), USAGE),
        (WrongArgument("no such parameter", where=""), USAGE),
        (KeyConflict("k", "fit", {}, {}), USAGE),
        (BadQuery("no such column"), USAGE),
        (stores.ReadOnly("not writable"), USAGE),
        (stores.NewerFormat("newer"), USAGE),
        (stores.Unavailable("busy"), TRANSIENT),
        (stores.Full("no room"), TRANSIENT),
        (stores.NotDurable("flush failed"), TRANSIENT),
        (stores.Fenced("taken over"), TRANSIENT),
        (NoHome("none"), NOT_FOUND),
        (NotFound("no run"), NOT_FOUND),
        (stores.Missing("no file"), NOT_FOUND),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_a_home_that_cannot_be_used_is_as_bad_as_what_makes_it_so() -> None:
    error = HomeError("cannot be used")
    assert exit_code(error) == USAGE
    error.__cause__ = stores.Full("no room")
    assert exit_code(error) == TRANSIENT


def test_the_first_error_of_a_group_is_told_and_a_failed_run_stays_whole() -> None:
    error = NotFound("no run 'x' is on record")
    assert first_of(ExceptionGroup("outer", [ExceptionGroup("inner", [error])])) is error
    failed = RunFailed("run 1 failed", [ValueError("x")])
    assert first_of(failed) is failed


def test_our_errors_are_one_message_and_others_come_with_the_users_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(AshoreError("it is so", where="a.py:3", mend="Do otherwise"), Settings()) == USAGE
    assert capsys.readouterr().err == "ashore: a.py:3: it is so. Do otherwise\n"
    try:
        raise ValueError("odd\x1b[31m")
    except ValueError as error:
        tell(error, Settings())
    said = capsys.readouterr().err
    assert f'File "{__file__}"' in said
    assert said.endswith("ashore: ValueError: odd\\x1b[31m\n")
    assert "This is a bug of ashore" in message(InternalError("it broke"))
    assert "This is a bug of ashore" in message(KeyError("raised without a line of the user's"))


def test_frames_of_ours_are_left_out_of_tracebacks_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        stores_frame = compile("raise ValueError('inner')", stores.__file__, "exec")
        exec(stores_frame)
    except ValueError as error:
        shown = users_traceback(error)
        assert __file__ in shown
        assert stores.__file__ not in shown
        tell(error, Settings(traceback=True))
        assert stores.__file__ in capsys.readouterr().err
