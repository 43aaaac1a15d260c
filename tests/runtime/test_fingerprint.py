"""Fingerprints: what does not count, what does, and that each change is named; cache keys."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from ashore.codec import Unencodable
from ashore.fingerprint import fingerprint_of

ROOT = Path(__file__).parents[2]
PATHS = f"import sys; sys.path[:0] = {[str(ROOT / 'runtime'), str(ROOT / 'stores')]!r}\n"

STEP = '''
RATE = 3
NAMES = frozenset({"north", "south", "east"})


def fit(table: list, *, lr: float = 0.1, steps=(1, 2)):
    """Fit."""

    class Row:
        """A row."""

        one = 1
        two = {"x", "y", "z"}

        def total(self):
            return self.one

    try:
        return [x * RATE for x in table if x in {"a", "b", "c", "d"}], Row(), lambda: steps
    except ValueError as error:
        raise KeyError(*NAMES) from error
    finally:
        table.clear()
'''
PRINT = "from ashore.fingerprint import fingerprint_of\nprint(fingerprint_of(fit, name='fit').code.hex())\n"


def defined(source: str, name: str = "fit", **names: Any) -> Callable[..., Any]:
    module: dict[str, Any] = {"__name__": "made", **names}
    exec(compile(textwrap.dedent(source), "made.py", "exec", dont_inherit=True), module)
    function = module[name]
    assert isinstance(function, FunctionType)
    return function


def parts(source: str, **names: Any) -> dict[str, str]:
    return dict(fingerprint_of(defined(source, **names), name="fit").parts)


def changed(before: str, after: str) -> set[str]:
    old, new = parts(before), parts(after)
    same_code = fingerprint_of(defined(before), name="fit").code == fingerprint_of(defined(after), name="fit").code
    differing = {part for part in old.keys() | new.keys() if old.get(part) != new.get(part)}
    assert same_code == (not differing)
    return differing


def test_script_module_and_cell_agree_in_every_folder_and_under_every_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "flights.py").write_text(f"{STEP}\nif __name__ == '__main__':\n    {PATHS}    " + PRINT.replace("\n", "\n    "))
    (tmp_path / "moved.py").write_text("\n\n# moved\nimport os\n" + STEP)
    cell = f"{PATHS}\nexec(compile({STEP!r}, '<cell 3>', 'exec', 0x2000), globals())\n{PRINT}"
    found = set()
    for seed, folder in (("1", tmp_path), ("2", ROOT), ("3", "/")):
        for arguments in (
            [str(tmp_path / "flights.py")],
            ["-c", f"{PATHS}sys.path.insert(0, {str(tmp_path)!r}); from flights import fit\n{PRINT}"],
            ["-c", f"{PATHS}sys.path.insert(0, {str(tmp_path)!r}); from moved import fit\n{PRINT}"],
            ["-c", cell],
        ):
            env = {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=True)
            found.add(done.stdout)
    assert len(found) == 1


def test_every_python_names_the_class_bodies_alike() -> None:
    assert "constant __name__" not in parts(STEP)
    assert parts(STEP)["constant RATE"] == "3"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Fit."""', '"""Fit it better."""'),
        ('"""Fit."""', ""),
        ("table: list", "table: dict[str, int]"),
        ("\n    try:", "\n\n    # a comment\n    try:"),
        ('"""A row."""', '"""Another row."""'),
        ("[x * RATE for x", "[(x  *  RATE) for x"),
        ('{"x", "y", "z"}', '{"z", "y", "x"}'),
        ('{"a", "b", "c", "d"}', '{"d", "a", "b", "c"}'),
    ],
)
def test_text_does_not_count(before: str, after: str) -> None:
    assert before in STEP
    assert changed(STEP, STEP.replace(before, after)) == set()


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ("x * RATE", "x + RATE", "code"),
        ("RATE = 3", "RATE = 4", "constant RATE"),
        ("RATE = 3", "RATE = 3.0", "constant RATE"),
        ('"north"', '"west"', "constant NAMES"),
        ("lr: float = 0.1", "lr: float = 0.2", "default lr"),
        ("steps=(1, 2)", "steps=[1, 2]", "default steps"),
        ("one = 1", "one = 2", "code"),
        ("self.one", "self.two", "code"),
        ("KeyError", "IndexError", "code"),
        ("ValueError", "TypeError", "code"),
        ('"d"}', '"e"}', "code"),
        ("lambda: steps", "lambda: lr", "code"),
        ("def fit(table", "def fit(rows", "code"),
        ("*, lr", "lr", "code"),
        ("    finally:\n        table.clear()", "    table.clear()", "code"),
    ],
)
def test_what_counts_is_named(before: str, after: str, part: str) -> None:
    assert before in STEP
    after_step = STEP.replace(before, after)
    if "(rows" in after:
        after_step = after_step.replace("in table", "in rows").replace("table.clear", "rows.clear")
    assert changed(STEP, after_step) == {part}


def test_the_names_of_keyword_arguments_count() -> None:
    def before(x: int) -> list[int]:
        return sorted([x], reverse=True)

    def after(x: int) -> list[int]:
        return sorted([x], key=None)

    assert fingerprint_of(before, name="f").code != fingerprint_of(after, name="f").code


def test_async_def_counts() -> None:
    assert "code" in changed("def fit(): return 1", "async def fit(): return 1")


def test_long_functions_and_far_jumps_are_taken() -> None:
    lines = "".join(f"    if x > {n}:\n        y = 'text {n}'\n" for n in range(600))
    source = f"def fit(x):\n    y = 0\n    while x:\n{textwrap.indent(lines, '    ')}\n        x -= 1\n    return y\n"
    assert changed(source, source.replace("'text 599'", "'text 600'")) == {"code"}
    assert changed(source, source.replace("    y = 0", "    'doc'\n    y = 0")) == set()


def test_where_a_handler_begins_counts() -> None:
    before = "def fit(f):\n    try:\n        f(1)\n        f(2)\n    except ValueError: return 3\n"
    after = "def fit(f):\n    f(1)\n    try:\n        f(2)\n    except ValueError: return 3\n"
    assert "code" in changed(before, after)


def test_a_global_that_is_set_again_counts_without_a_new_definition() -> None:
    fit = defined("def fit(x): return x * RATE + len(x)", RATE=3)
    first = fingerprint_of(fit, name="fit")
    assert fingerprint_of(fit, name="fit") is first
    fit.__globals__["RATE"] = 4
    assert fingerprint_of(fit, name="fit").code != first.code
    fit.__globals__["RATE"] = 3
    assert fingerprint_of(fit, name="fit") == first


def test_a_list_that_changed_in_place_counts() -> None:
    fit = defined("def fit(x): return x in NAMES", NAMES=["a"])
    first = fingerprint_of(fit, name="fit")
    fit.__globals__["NAMES"].append("b")
    assert dict(fingerprint_of(fit, name="fit").parts)["constant NAMES"] == '["a", "b"]'
    assert fingerprint_of(fit, name="fit").code != first.code


def test_the_closure_counts_functions_in_it_by_their_code() -> None:
    factory = "def make({a}, {b}):\n    def fit(x): return {b}(x) * {a}\n    return fit".format(a="factor", b="helper")
    make = defined(factory, "make")

    def taken(factor: object, source: str) -> dict[str, str]:
        return dict(fingerprint_of(make(factor, defined(source, "h")), name="fit").parts)

    first = taken(2, "def h(x): return x + 1")
    assert first["variable factor"] == "2"
    assert taken(2, "\n\n\ndef h(x): return x + 1") == first
    assert taken(3, "def h(x): return x + 1")["variable factor"] == "3"
    assert taken(2, "def h(x): return x + 2")["helper h"] != first["helper h"]


def test_options_role_and_name_are_parts() -> None:
    fit = defined("def fit(): return 1")
    taken = fingerprint_of(fit, name="fit", role="trainer", options={"seed": 0})
    assert dict(taken.parts).items() >= {("option seed", "0"), ("role", "trainer"), ("step", "fit")}
    others = [
        {"name": "fat", "role": "trainer"},
        {"name": "fit", "role": "step"},
        {"name": "fit", "role": "trainer", "options": {"seed": 1}},
    ]
    assert len({taken.code, *(fingerprint_of(fit, **other).code for other in others)}) == 4  # type: ignore[arg-type]
    with pytest.raises(Unencodable, match=r"options\['seed'\] is an object"):
        fingerprint_of(fit, name="fit", options={"seed": object()})


def test_long_values_are_shown_short_and_told_apart() -> None:
    long = "def fit(): return N"
    one, two = (dict(fingerprint_of(defined(long, N=["x" * 100, n]), name="fit").parts)["constant N"] for n in (1, 2))
    assert one != two
    assert len(one) < 130


def test_only_functions_have_fingerprints() -> None:
    with pytest.raises(TypeError, match="length: <built-in function len> is no Python function"):
        fingerprint_of(len, name="length")
