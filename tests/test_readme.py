"""Everything that the README tells people to type, typed: every python and bash block, in the order of the page, in one folder.

A fence says by its first word how its block is run, and by further words what is special about it:

    ```bash                   by bash; a failing command fails the block
    ```bash background        started, and ended by SIGTERM after the last block: it must then exit 0 (a daemon)
    ```bash exit=1            must end with this status
    ```python                 a program of its own; `await` may stand at the top, as in a notebook
    ```python file=flow.py    written to that file, then imported once

Blocks inside an HTML comment (`<!--` on a line of its own) run as well, unseen: they prepare what the next visible block needs. The
two commands between `<!-- example-command -->` and `<!-- test-command -->` are not run here: `.ci/run` runs them in a fresh clone.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
COMMANDS = ("example-command", "test-command")
LIMIT = 300  # seconds for one block: only against hanging

# Runs a file as a notebook runs a cell: `await` may stand at the top.
CELL = """
import ast, asyncio, inspect, sys
path = sys.argv[1]
code = compile(open(path).read(), path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
result = eval(code, {"__name__": "__main__", "__file__": path})
if inspect.iscoroutine(result): asyncio.run(result)
"""


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    options: dict[str, str]
    code: str


def command_spans(text: str) -> list[tuple[int, int]]:
    """Where the two commands stand."""
    found = (re.search(rf"<!-- {name} -->.*?<!-- {name} -->", text, re.DOTALL) for name in COMMANDS)
    return [match.span() for match in found if match]


def blocks(text: str) -> list[Block]:
    result = []
    for match in FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        options = {name: value for name, _, value in (word.partition("=") for word in words)}
        if not any(start <= match.start() < end for start, end in command_spans(text)):
            result.append(Block(text.count("\n", 0, match.start()) + 1, language, options, match["code"]))
    return result


RUN = [block for block in blocks(README) if block.language in {"bash", "python"}]


class Reader:
    """Somebody who works through the page from top to bottom, in one folder with the checkout's examples at hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.background: list[subprocess.Popen[str]] = []
        (folder / "examples").symlink_to(ROOT / "examples")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("ASHORE_", "PYTEST_"))}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def follow(self, block: Block) -> None:
        command = self._bash(block) if block.language == "bash" else self._python(block)
        if "background" in block.options:
            self.background.append(self._start(command))
            return
        process = self._start(command)
        try:
            output, _ = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        assert process.returncode == int(block.options.get("exit", "0")), f"README.md:{block.line}: {process.returncode}\n{output}"

    def leave(self) -> None:
        """End what runs in the background, as a service manager does."""
        for process in self.background:
            process.send_signal(signal.SIGTERM)
        ended = [(process.communicate(timeout=LIMIT)[0], process.returncode) for process in self.background]
        assert [output for output, status in ended if status] == []

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _bash(self, block: Block) -> list[str]:
        exec_ = "exec " if "background" in block.options else ""  # the signal must reach the program itself
        return ["bash", "-euo", "pipefail", "-c", exec_ + block.code]

    def _python(self, block: Block) -> list[str]:
        name = block.options.get("file", f"block_{block.line}.py")
        (self.folder / name).write_text(block.code, encoding="utf-8")
        if "file" in block.options:
            return [sys.executable, "-c", f"import {Path(name).stem}"]
        return [sys.executable, "-c", CELL, name]


@contextmanager
def reader_in(folder: Path) -> Iterator[Reader]:
    reader = Reader(folder)
    try:
        yield reader
        reader.leave()
    finally:
        for process in reader.background:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    pytest.importorskip("pandas", reason="the README uses pandas")
    with reader_in(tmp_path_factory.mktemp("readme")) as reader:
        yield reader


@pytest.mark.parametrize("block", [pytest.param(block, id=f"line-{block.line}-{block.language}") for block in RUN])
def test_readme_block(reader: Reader, block: Block) -> None:
    reader.follow(block)


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_has_the_command_on_one_line(name: str) -> None:
    found = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "readme_command.py"), name], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("\n") == 1


def test_every_block_says_what_it_is() -> None:
    """A fence without a language would silently not run."""
    assert [block.line for block in blocks(README) if block.language not in {"bash", "python", "text", "json", "toml", "sql"}] == []


PAGE = """
<!-- test-command -->
```bash
exit 9
```
<!-- test-command -->
<!--
```bash
echo 3 > number
```
-->
```python file=flow.py
def read():
    return int(open("number").read())
```
```bash background
python -c "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); open('ready', 'w').close(); signal.pause()"
```
```bash
until [ -e ready ]; do sleep 0.02; done
```
```python
import asyncio, flow
await asyncio.sleep(0)
open("seen", "w").write(str(flow.read()))
```
```bash exit=4
exit 4
```
"""


def test_the_runner_itself(tmp_path: Path) -> None:
    with reader_in(tmp_path) as reader:
        for block in blocks(PAGE):
            reader.follow(block)
    assert (tmp_path / "seen").read_text() == "3"


@pytest.mark.parametrize("code", ["```bash\nfalse\ntrue\n```", "```python\nraise ValueError\n```", "```python file=a.py\n1 +\n```"])
def test_the_runner_sees_a_failing_block(tmp_path: Path, code: str) -> None:
    with reader_in(tmp_path) as reader, pytest.raises(AssertionError, match=r"README\.md:1"):
        reader.follow(blocks(code)[0])
