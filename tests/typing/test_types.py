"""What type checkers tell users: mypy --strict and pyright strict over the files beside this one, one run each.

In `negative.py` each line marked `# E` must be reported by both checkers (`# E mypy`, `# E pyright`: by that one alone), and no
other line by either. Every other file must pass both.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = ("positive.py", "bodies.py", "later.py", "negative.py", "lookups.py", "supplied.py", "tests_of_steps.py")
HEADER = 2
"""Lines at the top of `negative.py` that keep the checkers of the whole project off it."""

BY_THE_WAY = {
    "reportUnusedExpression",
    "reportUnusedVariable",
    "reportUnusedCoroutine",
    "reportUnknownVariableType",
    "reportUnknownMemberType",
    "reportUnknownArgumentType",
}
"""What pyright's strict mode also says of lines that are wrong on purpose, or of a value that is dropped."""

Found = dict[str, dict[int, list[str]]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typing")
    for name in SOURCES:
        lines = (HERE / name).read_text(encoding="utf-8").splitlines()
        if name == "negative.py":
            lines[:HEADER] = [""] * HEADER
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def mypy(sources: Path) -> Found:
    cache = ROOT / ".mypy_cache" / "typing"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", *SOURCES]
    environment = {**os.environ, "MYPYPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT / 'stores'}"}
    said = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=False)
    found: Found = defaultdict(lambda: defaultdict(list))
    for line in said.stdout.splitlines():
        match = re.match(r"([^:/]+\.py):(\d+): error: (.*)", line)
        if match:
            found[match[1]][int(match[2])].append(match[3])
    assert said.returncode in (0, 1), said.stdout + said.stderr
    assert re.search(rf"checked {len(SOURCES)} source files", said.stdout), said.stdout + said.stderr
    return found


@pytest.fixture(scope="module")
def pyright(sources: Path) -> Found:
    paths = [str(ROOT / "runtime"), str(ROOT / "stores")]
    config = {"include": list(SOURCES), "extraPaths": paths, "typeCheckingMode": "strict"}
    (sources / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(sources)]
    said = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    answer = json.loads(said.stdout)
    assert answer["summary"]["filesAnalyzed"] == len(SOURCES), said.stdout[:2000]
    found: Found = defaultdict(lambda: defaultdict(list))
    for one in answer["generalDiagnostics"]:
        if one["severity"] == "error" and one.get("rule") not in BY_THE_WAY:
            found[Path(one["file"]).name][one["range"]["start"]["line"] + 1].append(one["message"])
    return found


def marked(checker: str) -> set[int]:
    """The lines of `negative.py` that this checker must report."""
    lines = enumerate((HERE / "negative.py").read_text(encoding="utf-8").splitlines(), 1)
    marks = (
        (number, re.search(r"#\s*(?:false )?E\b(?: (mypy|pyright)\b)?", line)) for number, line in lines if number > HEADER + 3
    )
    return {number for number, mark in marks if mark and mark[1] in (None, checker)}


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "negative.py"])
def test_mypy_passes_what_is_right(mypy: Found, name: str) -> None:
    assert dict(mypy[name]) == {}


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "negative.py"])
def test_pyright_passes_what_is_right(pyright: Found, name: str) -> None:
    assert dict(pyright[name]) == {}


def test_mypy_reports_every_line_that_is_wrong_and_no_other(mypy: Found) -> None:
    wanted = marked("mypy")
    assert sorted(wanted - mypy["negative.py"].keys()) == [], "not reported"
    assert {number: texts for number, texts in mypy["negative.py"].items() if number not in wanted} == {}, "reported without a mark"


def test_pyright_reports_every_line_that_is_wrong_and_no_other(pyright: Found) -> None:
    wanted = marked("pyright")
    assert sorted(wanted - pyright["negative.py"].keys()) == [], "not reported"
    assert {n: texts for n, texts in pyright["negative.py"].items() if n not in wanted} == {}, "reported without a mark"


def test_there_are_marks_to_compare_with() -> None:
    assert len(marked("mypy")) > 45
    assert len(marked("pyright")) > 45
