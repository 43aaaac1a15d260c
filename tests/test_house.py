"""The rules of the house that no linter knows: sizes, what an import costs, and where the world may come in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = sorted([*(ROOT / "runtime").rglob("*.py"), *(ROOT / "stores").rglob("*.py")])
SOURCES = [
    *PRODUCT,
    *sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]),
]

MODULE_LINES, TEST_LINES = 500, 700
BODY_LINES = 40  # without signature and docstring

# What `import ashore` must not pay for: loaded only by what uses it.
HEAVY = {
    *("numpy", "pandas", "pyarrow", "sklearn", "skops", "scipy"),
    *("aiobotocore", "botocore", "aiosqlite", "sqlite3", "httpx", "uvloop", "click", "rich", "structlog"),
}

# The world comes in through the ports. "*": modules that hand out time, chance, threads, processes, files; then single names.
WORLD = """
*: time random uuid secrets threading _thread asyncio concurrent multiprocessing subprocess tempfile shutil fcntl mmap glob socket
*: select selectors sched fileinput
builtins: open
io: open FileIO open_code
os: open fdopen read write pread pwrite preadv pwritev fsync fdatasync stat lstat fstat rename replace remove unlink link
os: symlink mkdir makedirs rmdir removedirs listdir scandir walk access truncate ftruncate lseek chmod utime lockf urandom getrandom
os: fork posix_spawn kill
os.path: exists isfile isdir getsize getmtime
datetime: datetime.now datetime.utcnow datetime.today date.today
anyio: sleep sleep_until current_time open_file Path to_thread to_process run_process open_process
"""
LISTED = [(module, name) for module, _, names in (line.partition(": ") for line in WORLD.split("\n")) for name in names.split()]
WORLD_MODULES = frozenset(name for module, name in LISTED if module == "*")
WORLD_NAMES = frozenset(name if module == "builtins" else f"{module}.{name}" for module, name in LISTED if module != "*")

# Who may, and what. Whole packages first: the real ports, and the kits that stand in for them.
DOORKEEPERS = ("stores/ashore_stores/system", "stores/ashore_stores/testing", "runtime/ashore/testing")
EXCEPTIONS: dict[str, frozenset[str]] = {
    "runtime/ashore/deciding.py": frozenset({"uuid"}),  # the type of an id whose bytes come from the port
    "runtime/ashore/engine/pump.py": frozenset({"asyncio"}),  # the hot path works on tasks and callbacks of the loop itself
    "runtime/ashore/entry.py": frozenset({"asyncio"}),  # the way in: it asks which loop it is in, and there may be none
    "runtime/ashore/fingerprint/owners.py": frozenset({"os.listdir", "open"}),  # reads what installers left
    "runtime/ashore/targets.py": frozenset({"os.path.isfile"}),  # finds the user's code, which Python then reads by itself
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_modules_stay_readable_in_one_sitting() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    limits = {path: TEST_LINES if path.startswith("tests/") else MODULE_LINES for path in lengths}
    assert {path: lines for path, lines in lengths.items() if lines > limits[path]} == {}


def test_function_bodies_fit_on_a_screen() -> None:
    long = [
        f"{relative(p)}:{f.lineno} {f.name}: {body_lines(f)}"
        for p in SOURCES
        for f in functions(parsed(p))
        if body_lines(f) > BODY_LINES
    ]
    assert long == []


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("package", ["ashore", "ashore_stores"])
def test_an_import_loads_no_heavy_library(package: str) -> None:
    before = loaded_by("pass")
    assert sorted((loaded_by(f"import {package}") - before) & HEAVY) == []


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a chain of names, else what follows the last thing that is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def imported(tree: ast.Module) -> dict[str, str]:
    """Local name -> full name, for every import of a file, wherever it stands."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else alias.name.partition(".")[0]
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def world_uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every place where a file takes the world without asking a port: (line, what)."""
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                (node.lineno, alias.name.partition(".")[0]) for alias in node.names if alias.name.partition(".")[0] in WORLD_MODULES
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in WORLD_MODULES:
            yield node.lineno, (node.module or "").partition(".")[0]
        elif isinstance(node, (ast.Name, ast.Attribute)):
            first, _, rest = dotted(node).partition(".")
            full = ".".join(filter(None, (names.get(first, first), rest)))
            if full in WORLD_NAMES and not isinstance(node.ctx, ast.Store):
                yield node.lineno, full


def is_doorkeeper(path: Path) -> bool:
    return relative(path).startswith(DOORKEEPERS)


def test_the_world_comes_in_through_the_ports_only() -> None:
    found = [
        f"{relative(path)}:{line} {what}"
        for path in PRODUCT
        if not is_doorkeeper(path)
        for line, what in world_uses(parsed(path))
        if what not in EXCEPTIONS.get(relative(path), frozenset())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import time", ["time"]),
        ("from time import monotonic as m", ["time"]),
        ("import os\nos.fsync(3)", ["os.fsync"]),
        ("from os import path\npath.exists('x')", ["os.path.exists"]),
        ("import os.path\nos.path.exists('x')", ["os.path.exists"]),
        ("f = open('x')", ["open"]),
        ("from datetime import datetime as d\nd.now()", ["datetime.datetime.now"]),
        ("from anyio import to_thread", []),
        ("from anyio import to_thread\nto_thread.run_sync(f)", ["anyio.to_thread"]),
        ("disk.open('x')\nclock.now()\nos = 1\nself.time", []),
        ("import os\nos.path.join('a', 'b')\nos.getpid()", []),
    ],
)
def test_the_search_for_the_world_finds_it(code: str, found: list[str]) -> None:
    assert [what for _, what in world_uses(ast.parse(code))] == found


def test_exceptions_are_still_needed() -> None:
    existing = {name: names for name, names in EXCEPTIONS.items() if (ROOT / name).exists()}
    used = {name: {what for _, what in world_uses(parsed(ROOT / name))} for name in existing}
    assert {name: sorted(names - used[name]) for name, names in existing.items() if names - used[name]} == {}


@pytest.mark.parametrize("package", ["ashore", "ashore_stores"])
def test_no_module_goes_through_its_own_door(package: str) -> None:
    """The door imports every floor: a module that imports from it would see all of them, and what loads first would decide."""
    sources = [path for path in PRODUCT if package in path.parts and path.name != "__init__.py"]
    inner = {path.stem for path in (PRODUCT[0].parents[1] / package).glob("*")} | {
        path.stem for path in (ROOT / "stores" / package).glob("*")
    }
    inner |= {path.stem for path in (ROOT / "runtime" / package).glob("*")}
    through = [
        f"{relative(path)}:{node.lineno}"
        for path in sources
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.ImportFrom) and node.module == package and any(alias.name not in inner for alias in node.names))
        or (isinstance(node, ast.Import) and any(alias.name == package for alias in node.names))
    ]
    assert through == []


def test_no_pickle() -> None:
    """No code is ever executed from data. Functions that no import finds go to our own child process by value, in one place."""
    allowed = {"runtime/ashore/executors/byvalue.py": "cloudpickle"}
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    found = [
        f"{relative(path)}: {name}"
        for path in PRODUCT
        for name in imported(parsed(path)).values()
        if name.partition(".")[0] in banned and allowed.get(relative(path)) != name
    ]
    assert found == []
