"""The closure by machine: every line of five small projects is changed in every way that is known here.

A change of a reachable line must change the fingerprint, a change of any other must not. Each in a process of its own, under
several hash seeds, in several folders, as a notebook's cell and as a module. `ASHORE_MUTANTS=1` takes each, else one in four.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.runtime.closures import Job, Taken, differing, taken, taken_if_they_run
from tests.scenarios.closure_samples import SAMPLES

SHARE = 1 if os.environ.get("ASHORE_MUTANTS") else 4
MARK = re.compile(r"\s*#!.*$")


class Mutant(NamedTuple):
    """One line of one file, changed."""

    file: str
    line: int
    text: str
    counts: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text.strip()}"


def changes(line: str) -> Iterator[str]:
    """A line of code changed so that it still compiles and does something else."""
    code = MARK.sub("", line)
    indent = code[: len(code) - len(code.lstrip())]
    text = code.strip()
    if not text or text.startswith(("#", '"', "'", "import ", "from ", "try", "else", "finally", "break", "match ", "case _", "@")):
        return
    for number in re.finditer(r"(?<![\w.\"'])\d+(?:\.\d+)?", code):
        yield f"{code[: number.start()]}{float(number[0]) + 1:g}{code[number.end() :]}"
    for string in re.finditer(r'(?<!f)"[^"{}\[\]]*"', code):
        yield f'{code[: string.end() - 1]}~"{code[string.end() :]}'
    if " + " in code:
        yield code.replace(" + ", " - ", 1)
    if text.startswith("return "):
        yield f"{indent}return [{text[7:]}]"
    if text.startswith(("if ", "while ")):
        word, _, test = text.rstrip(":").partition(" ")
        yield f"{indent}{word} not ({test}):"
    if re.match(r"(async )?def \w+\(", text):
        yield (
            re.sub(r"(\*\*more)?\)( -> .*)?:$", r", also=1, \1)\2:", code)
            .replace("(, ", "(")
            .replace(", , ", ", ")
            .replace("*names, also", "*names, also")
        )


def mutants(files: dict[str, str]) -> Iterator[Mutant]:
    """Every changed line; of those that do not count also their texts."""
    for file, source in files.items():
        for number, line in enumerate(source.split("\n")):
            counts = "#!" in line
            for text in changes(line):
                if compiles(replaced(source, number, text)):
                    yield Mutant(file, number, text, counts)
            if line.strip() and '"""' not in line:
                yield Mutant(file, number, f"{line}  # {number}", False)
                yield Mutant(file, number, f"\n\n{line}", False)


def replaced(source: str, number: int, text: str) -> str:
    lines = source.split("\n")
    lines[number] = text
    return "\n".join(lines)


def compiles(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def written(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> dict[str, str]:
    files: dict[str, str] = SAMPLES[request.param]
    return files


@pytest.fixture(scope="module")
def base(sample: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Taken:
    folder = written(tmp_path_factory.mktemp("base"), sample)
    [found] = taken([Job(folder)], seed="1", folder=folder)
    return found


def test_every_reachable_line_counts_and_no_other(sample: dict[str, str], base: Taken, tmp_path: Path) -> None:
    every = list(mutants(sample))
    chosen = [one for number, one in enumerate(every) if number % SHARE == 0]
    assert sum(one.counts for one in every) > 20
    assert sum(not one.counts for one in every) > 20
    jobs: list[list[Job]] = [[], []]
    for number, one in enumerate(chosen):
        changed = {**sample, one.file: replaced(sample[one.file], one.line, one.text)}
        half = number % 2
        jobs[half].append(Job(written(tmp_path / f"half{half}" / str(number), changed), as_cell=number % 4 > 1))
    halves = [taken_if_they_run(jobs[half], seed=str(half + 5), folder=(tmp_path, "/")[half]) for half in (0, 1)]
    found = [(one, halves[number % 2][number // 2]) for number, one in enumerate(chosen)]
    assert len([one for one, its in found if its is None]) < len(chosen) // 10, "most of the changed projects run"
    assert [str(one) for one, its in found if its is not None and (its.code != base.code) != one.counts] == []


def test_every_change_is_named_by_its_part(sample: dict[str, str], base: Taken, tmp_path: Path) -> None:
    """Parts have places: the part that a changed line lies in is among those that changed."""
    chosen = [one for one in mutants(sample) if one.counts][:: SHARE * 3]
    jobs = [
        Job(written(tmp_path / str(number), {**sample, one.file: replaced(sample[one.file], one.line, one.text)}))
        for number, one in enumerate(chosen)
    ]
    for one, found in zip(chosen, taken_if_they_run(jobs), strict=True):
        changed = differing(base, found) if found is not None else {"code"}
        assert 1 <= len(changed) <= 4, (str(one), changed)


def test_two_seeds_two_folders_cell_and_module_agree(sample: dict[str, str], base: Taken, tmp_path: Path) -> None:
    one, other = written(tmp_path / "one", sample), written(tmp_path / "a" / "deeper" / "other", sample)
    found = [
        *taken([Job(one), Job(one, as_cell=True)], seed="7", folder="/"),
        *taken([Job(other), Job(other, as_cell=True)], seed="8", folder=other),
    ]
    assert {taken_.code for taken_ in found} == {base.code}


def test_written_anew_it_is_the_same(sample: dict[str, str], base: Taken, tmp_path: Path) -> None:
    """Without comments, in another layout; without docstrings."""
    files = {name: source for name, source in sample.items() if name.endswith(".py")}
    anew = {name: ast.unparse(ast.parse(source)) for name, source in files.items()}
    bare = {name: ast.unparse(without_docstrings(ast.parse(source))) for name, source in files.items()}
    found = taken([Job(written(tmp_path / "anew", anew)), Job(written(tmp_path / "bare", bare))])
    assert [differing(base, one) for one in found] == [set(), set()]


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree
