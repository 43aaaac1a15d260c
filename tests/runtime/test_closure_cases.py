# ruff: noqa: E501  # one case a line is a table
"""The closure by hand: one change each to a small project, and which part of the fingerprint it must, or must not, change.

Every project is fingerprinted before and after its change, in processes of their own, twice: under two hash seeds, from two folders
and working directories; and as a cell of a notebook, whose id must be the same where everything stands in one file.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.runtime.closures import Job, Taken, differing, taken

from ashore.ids import CodeId
from ashore.questions.changes import code_changes
from ashore.questions.facts import Definition


class Case(NamedTuple):
    """Files, a change of one of them, and the parts that it changes."""

    name: str
    files: dict[str, str]
    before: str
    after: str
    parts: set[str]
    file: str = "flow.py"
    """Where the change is."""


def flow(name: str, source: str, before: str, after: str, *parts: str) -> Case:
    """A case in one file."""
    return Case(name, {"flow.py": source}, before, after, set(parts))


def two(name: str, source: str, other: str, change: tuple[str, str], *parts: str, file: str = "clean.py") -> Case:
    """A case in two files, with the change in the second."""
    return Case(name, {"flow.py": source, file: other}, *change, set(parts), file)


HELPER = """
RATE = 3
def other(x): return x
def normalize(x):
    return x * RATE
def fit(x, lr=0.1):
    return normalize(x)
"""
CLASS = """
from dataclasses import dataclass
class Base:
    scale = 2
    def shared(self): return self.scale
    def unread(self): return 1
class Model(Base):
    '''A model.'''
    alpha = 1
    def __init__(self, w): self.w = w
    def predict(self, x):
        return x * self.w
    @property
    def size(self): return 1
    @staticmethod
    def make(): return Model(1)
    @classmethod
    def load(cls): return cls(1)
    class Inner:
        depth = 1
def fit(x):
    return Model(2).predict(x)
"""
DECORATED = """
import functools
LIMIT = 5
def timed(f):
    @functools.wraps(f)
    def wrapper(*args):
        return f(*args), LIMIT
    return wrapper
def plainly(f):
    def inner(*args): return f(*args)
    return inner
def times(n):
    def decorate(f):
        def repeated(*args): return [f(*args) for _ in range(n)]
        return repeated
    return decorate
@timed
def one(x): return x + 1
@plainly
def two(x): return x + 2
@times(3)
def three(x): return x + 3
def fit(x): return one(x), two(x), three(x)
"""
HELD = """
import functools, operator
from functools import partial, lru_cache, singledispatch, cached_property
def scale(x, by=1): return x * by
def add(x): return x + 1
def low(x): return x - 1
double = partial(scale, by=2)
TABLE = {"add": add, "low": [low]}
@lru_cache(maxsize=8)
def cached(x): return x + 10
@singledispatch
def shown(x): return str(x)
@shown.register
def _(x: int): return "int"
class Lazy:
    @cached_property
    def value(self): return 1
class Field:
    def __init__(self, top): self.top = top
    def __get__(self, obj, owner): return self.top
class Holder:
    field = Field(3)
lazy = Lazy()
bound = lazy.__class__
pick = operator.itemgetter("a")
square = lambda x: x ** 2
def fit(x): return double(x), TABLE["add"](x), cached(x), shown(x), lazy.value, Holder().field, pick, square(x)
"""
CLASSES = """
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
class Meta(type):
    def __call__(cls, *args): return super().__call__(*args)
class Made(metaclass=Meta):
    pass
@dataclass(frozen=True)
class Row:
    left: int = 1
    names: list = field(default_factory=list)
    def total(self): return self.left
class Colour(Enum):
    RED = 1
    BLUE = 2
    def shown(self): return self.name
class Pair(NamedTuple):
    a: int
    b: int = 2
    def sum(self): return self.a
SETTINGS = Row(left=4)
def fit(x): return Made(), Row().total(), Colour.RED, Pair(1), SETTINGS.left
"""
RECURSION = """
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
def fit(x):
    return even(x) or fit(x - 1)
"""
CLOSED = """
def make(factor, helper):
    def fit(x, *, steps=(1, 2)):
        def inner(y): return y * factor
        class Row:
            one = 1
        return inner(helper(x)), Row, [z for z in x if z]
    return fit
def plus(x): return x + 1
fit = make(2, plus)
"""
TEXT = '''
"""A module."""
import functools
RATE = 3  # a rate
def normalize(x: int, y: "list[int]" = None) -> int:
    """Normalize."""
    total: int = 0
    if (x and RATE) or y: total = x
    return total

def fit(x: list, lr: float = 0.1) -> dict:
    """Fit."""
    def inner(y: int, z: dict[str, int] = {}) -> int:
        """Inner."""
        return y
    class Row:
        """A row."""
        a: int = 3
        b: "str"
        def m(self, q: int) -> str: return q
    return {"a": normalize(x), "b": inner(x), "c": Row, "d": {"x", "y", "z"}}
'''
PACKAGE = {
    "flow.py": """
from pack import config, tools
import pack.deep.down as down
from pack.tools import polish as shine
def fit(x):
    from pack.late import lately
    import pack.later
    return config.RATE * tools.scrub(x), down.dig(x), shine(x), lately(x), pack.later.more(x)
""",
    "pack/__init__.py": "",
    "pack/config.py": "RATE = 3\nUNREAD = 4\nNAMES = ['a']\n",
    "pack/tools.py": "from pack.config import NAMES\ndef scrub(x): return x, NAMES\ndef polish(x): return x\ndef unread(x): return 1\n",
    "pack/deep/__init__.py": "",
    "pack/deep/down.py": "from .. import config\ndef dig(x): return _dug(x)\ndef _dug(x): return config.RATE\n",
    "pack/late.py": "from . import tools\nLATE = 1\ndef lately(x): return LATE, tools.polish(x)\n",
    "pack/later.py": "def more(x): return x\nraise_it = 1\n",
}
INSTALLED = {
    "flow.py": "import lib_a\ndef fit(x): return lib_a.work(x)\n",
    "lib_a/__init__.py": "def work(x): return x\n",
    "lib_a-1.0.dist-info/METADATA": "Name: lib-a\nVersion: 1.0\nRequires-Dist: lib_b>=1\nRequires-Dist: lib_c; extra == 'more'\n\ntext",
    "lib_a-1.0.dist-info/RECORD": "lib_a/__init__.py,sha256=aaa,22\nlib_a-1.0.dist-info/RECORD,,\nlib_a/x.pyc,sha256=q,1\n",
    "lib_b-2.0.dist-info/METADATA": "Name: lib_b\nVersion: 2.0\n\n",
    "lib_b-2.0.dist-info/RECORD": "lib_b.py,sha256=bbb,1\n",
    "lib_c-2.0.dist-info/METADATA": "Name: lib_c\nVersion: 2.0\n\n",
    "lib_c-2.0.dist-info/RECORD": "lib_c.py,sha256=ccc,1\n",
}
WHOLE = {
    "flow.py": "import tools\ndef fit(x): return dict(vars(tools)), getattr(tools, 'b')\n",
    "tools.py": "a = 1\nb = 2\ndef c(): return 3\n",
}
BY_NAME = {"flow.py": "import tools\ndef fit(x): return getattr(tools, 'b')\n", "tools.py": "a = 1\nb = 2\n"}
STEPS = """
from ashore import Cache, step
def reached(): return 1
DEBUG = False
def log(x): return x
@step
def clean(x): return x + 1
@step(cache=Cache(extra=[reached, 5], ignore=["constant DEBUG", "log", "verbose"], env=["FIT_RATE"]))
def fit(x, verbose=True):
    return clean.fn(x), DEBUG, log(x)
"""
METHOD = """
class Trainer:
    rate = 1
    def helper(self, x): return x * self.rate
    def fit(self, x): return self.helper(x)
class Model:
    def predict(self, x): return x
class Unused:
    def predict(self, x): return x
def score(model: Model, x: "list[Model]"): return model.predict(x)
fit = Trainer.fit
"""
STATE = """
from types import SimpleNamespace
calls = []
COUNTS = {"a": 1}
READ = {"a": 1}
total = 0
class Tracker:
    def __init__(self, n): self.items, self.n = [], n
    def note(self, x): self.items.append(x)
tracker = Tracker(5)
class Loaded(dict):
    size = 3
    seen = {}
    @property
    def text(self):
        return self._read()
    def _read(self):
        self.cached = 1
        self.seen["x"] = 2
loaded = Loaded()
spaces = SimpleNamespace(count=0, rate=1)
def fit(x):
    global total
    total += 1
    calls.append(x)
    COUNTS["a"] += 1
    tracker.note(x)
    loaded.text
    loaded["a"] = x
    spaces.count += 1
    return READ["a"], spaces.rate
"""

CASES = [
    # helpers, constants, defaults
    flow("a helper's code", HELPER, "x * RATE", "x + RATE", "helper normalize"),
    flow("a helper's helper's constant", HELPER, "RATE = 3", "RATE = 4", "constant RATE"),
    flow("a constant's type", HELPER, "RATE = 3", "RATE = 3.0", "constant RATE"),
    flow("a constant that is True and not 1", HELPER, "RATE = 3", "RATE = True", "constant RATE"),
    flow("a function beside it", HELPER, "def other(x): return x", "def other(x): return 7"),
    flow("a constant beside it", HELPER, "RATE = 3", "RATE = 3\nELSE = 4"),
    flow("a default", HELPER, "lr=0.1", "lr=0.2", "default lr"),
    flow("a helper's default", HELPER, "def normalize(x):", "def normalize(x, y=1):", "helper normalize", "default normalize.y"),
    flow("another helper under its name", HELPER, "def fit(", "normalize = other\ndef fit(", "code", "helper normalize", "helper other", "constant RATE"),
    flow("the order of functions", HELPER, "def other(x): return x\ndef normalize(x):\n    return x * RATE", "def normalize(x):\n    return x * RATE\ndef other(x): return x"),
    flow("an import that nobody reads", HELPER, "RATE = 3", "import json\nRATE = 3"),
    flow("a lambda in a global", HELD, "x ** 2", "x ** 3", "helper <lambda>"),
    # text
    flow("comments", TEXT, "# a rate", "# another"),
    flow("docstrings", TEXT, '"""Normalize."""', '"""Normalize better."""'),
    flow("a docstring less", TEXT, '    """Fit."""\n', ""),
    flow("inner docstrings", TEXT, '"""Inner."""', '"""Within."""'),
    flow("an inner class's docstring", TEXT, '"""A row."""', '"""One row."""'),
    flow("annotations of helpers", TEXT, 'y: "list[int]" = None', "y: dict = None"),
    flow("annotations of the step", TEXT, "x: list, lr: float", "x, lr: int"),
    flow("annotations of inner functions", TEXT, "z: dict[str, int] = {}) -> int", "z: list[str] = {}) -> float"),
    flow("no annotations of inner functions", TEXT, "y: int, z: dict[str, int] = {}) -> int", "y, z={})"),
    flow("annotations of inner classes", TEXT, "a: int = 3", "a: list[float] = 3"),
    flow("annotations of inner methods", TEXT, "q: int) -> str", "q)"),
    flow("annotations of variables", TEXT, "total: int = 0", "total = 0"),
    flow("empty lines", TEXT, "    return total", "\n\n    return total"),
    flow("a condition in lines", TEXT, "(x and RATE) or y: total = x", "(\n        (x\n          and RATE)\n        or y\n    ):\n        total = x"),
    flow("a call in lines", TEXT, '{"a": normalize(x), "b"', '{"a": normalize(\n        x\n    ),\n    "b"'),
    flow("the order of a set's text", TEXT, '{"x", "y", "z"}', '{"z", "x", "y"}'),
    flow("the module's docstring", TEXT, '"""A module."""', '"""The module."""'),
    flow("an inner class's attribute", TEXT, "a: int = 3", "a: int = 4", "code"),
    flow("an inner class's field", TEXT, 'b: "str"', 'c: "str"', "code"),
    # classes
    flow("a method", CLASS, "x * self.w", "x + self.w", "class Model.predict"),
    flow("a constructor", CLASS, "self.w = w", "self.w = -w", "class Model.__init__"),
    flow("a class attribute", CLASS, "alpha = 1", "alpha = 2", "class Model.alpha"),
    flow("a base's attribute", CLASS, "scale = 2", "scale = 3", "class Base.scale"),
    flow("a base's method", CLASS, "return self.scale", "return -self.scale", "class Base.shared"),
    flow("a property", CLASS, "def size(self): return 1", "def size(self): return 2", "class Model.size"),
    flow("a static method", CLASS, "return Model(1)", "return Model(2)", "class Model.make"),
    flow("a class method", CLASS, "return cls(1)", "return cls(2)", "class Model.load"),
    flow("a class in a class", CLASS, "depth = 1", "depth = 2", "class Model.Inner.depth"),
    flow("another base", CLASS, "class Model(Base)", "class Model", "class Model", "class Base", "class Base.scale", "class Base.shared", "class Base.unread"),
    flow("a class's docstring", CLASS, "'''A model.'''", "'''The model.'''"),
    flow("the order of methods", CLASS, "    def shared(self): return self.scale\n    def unread(self): return 1", "    def unread(self): return 1\n    def shared(self): return self.scale"),
    flow("a class that nobody reaches", CLASS, "def fit", "class Else: pass\ndef fit"),
    flow("a metaclass", CLASSES, "super().__call__(*args)", "None", "class Meta.__call__"),
    flow("a dataclass's default", CLASSES, "left: int = 1", "left: int = 2", "class Row", "class Row.left"),
    flow("a dataclass's field", CLASSES, "    left: int = 1", "    left: int = 1\n    right: int = 1", "class Row", "class Row.right", "constant SETTINGS"),
    flow("a dataclass's annotation", CLASSES, "left: int = 1", "left: float = 1"),
    flow("a dataclass's factory", CLASSES, "default_factory=list", "default_factory=dict", "class Row", "constant SETTINGS"),
    flow("a dataclass's options", CLASSES, "frozen=True", "frozen=False", "class Row"),
    flow("a dataclass's method", CLASSES, "return self.left", "return -self.left", "class Row.total"),
    flow("an object's attribute", CLASSES, "Row(left=4)", "Row(left=5)", "constant SETTINGS"),
    flow("an enum's member", CLASSES, "BLUE = 2", "BLUE = 3", "class Colour"),
    flow("an enum's method", CLASSES, "return self.name", "return self.value", "class Colour.shown"),
    flow("a named tuple's default", CLASSES, "b: int = 2", "b: int = 3", "class Pair"),
    flow("a named tuple's method", CLASSES, "return self.a", "return self.b", "class Pair.sum"),
    # decorators
    flow("a wrapper", DECORATED, "return f(*args), LIMIT", "return f(*args), -LIMIT", "helper timed.<locals>.wrapper"),
    flow("a wrapper's constant", DECORATED, "LIMIT = 5", "LIMIT = 6", "constant LIMIT"),
    flow("behind functools.wraps", DECORATED, "x + 1", "x - 1", "helper one"),
    flow("behind a decorator without wraps", DECORATED, "x + 2", "x - 2", "helper two"),
    flow("a decorator's argument", DECORATED, "@times(3)", "@times(4)", "variable times.<locals>.decorate.<locals>.repeated.n"),
    flow("behind a decorator with arguments", DECORATED, "x + 3", "x - 3", "helper three"),
    flow("what a decorator does when it decorates", DECORATED, "    def inner(", "    print\n    def inner("),
    # what is held
    flow("a partial's function", HELD, "return x * by", "return x / by", "helper scale"),
    flow("a partial's argument", HELD, "by=2", "by=3", "constant double"),
    flow("a function in a dict", HELD, "def add(x): return x + 1", "def add(x): return x + 2", "helper add"),
    flow("a function in a list in a dict", HELD, "return x - 1", "return x - 2", "helper low"),
    flow("another function in the dict", HELD, '"add": add', '"add": scale', "constant TABLE", "helper add"),
    flow("behind a cache", HELD, "return x + 10", "return x + 11", "helper cached"),
    flow("the cache's size", HELD, "maxsize=8", "maxsize=9"),
    flow("a single dispatch's fallback", HELD, "return str(x)", "return repr(x)", "helper shown"),
    flow("a single dispatch's case", HELD, 'return "int"', 'return "whole"', "helper _"),
    flow("a cached property", HELD, "def value(self): return 1", "def value(self): return 2", "class Lazy.value"),
    flow("a descriptor's code", HELD, "return self.top", "return -self.top", "class Field.__get__"),
    flow("a descriptor's state", HELD, "Field(3)", "Field(4)", "class Holder.field"),
    flow("an operator's argument", HELD, 'itemgetter("a")', 'itemgetter("b")', "constant pick"),
    flow("a class in a name that nobody reads", HELD, "bound = lazy.__class__", "bound = 1"),
    # cycles and closures
    flow("recursion", RECURSION, "fit(x - 1)", "fit(x - 2)", "code"),
    flow("functions that call one another", RECURSION, "even(n - 1)", "even(n - 3)", "helper odd"),
    flow("a closure's value", CLOSED, "make(2, plus)", "make(3, plus)", "variable factor"),
    flow("a closure's function", CLOSED, "return x + 1", "return x + 2", "helper plus"),
    flow("an inner function", CLOSED, "y * factor", "y + factor", "code"),
    flow("a keyword's default", CLOSED, "steps=(1, 2)", "steps=(1, 3)", "default steps"),
    flow("a comprehension", CLOSED, "if z]", "if not z]", "code"),
    flow("where a function is made", CLOSED, "    return fit\n", "    print\n    return fit\n"),
    # modules
    Case("a module's attribute", PACKAGE, "RATE = 3", "RATE = 4", {"constant pack.config.RATE"}, "pack/config.py"),
    Case("a module's other attribute", PACKAGE, "UNREAD = 4", "UNREAD = 5", set(), "pack/config.py"),
    Case("a module's function", PACKAGE, "return x, NAMES", "return NAMES, x", {"helper pack.tools.scrub"}, "pack/tools.py"),
    Case("a module's other function", PACKAGE, "return 1", "return 2", set(), "pack/tools.py"),
    Case("a constant that a module imports", PACKAGE, "['a']", "['b']", {"constant pack.tools.NAMES"}, "pack/config.py"),
    Case("a function under another name", PACKAGE, "def polish(x): return x", "def polish(x): return -x", {"helper pack.tools.polish"}, "pack/tools.py"),
    Case("a private helper far down", PACKAGE, "return config.RATE", "return -config.RATE", {"helper pack.deep.down._dug"}, "pack/deep/down.py"),
    Case("an import inside the function", PACKAGE, "LATE = 1", "LATE = 2", {"constant pack.late.LATE"}, "pack/late.py"),
    Case("a dotted import inside the function", PACKAGE, "more(x): return x", "more(x): return -x", {"helper pack.later.more"}, "pack/later.py"),
    Case("a comment in a module", PACKAGE, "LATE = 1", "# late\nLATE = 1", set(), "pack/late.py"),
    Case("a module as a value", WHOLE, "a = 1", "a = 2", {"constant tools.a"}, "tools.py"),
    Case("a module as a value, its functions", WHOLE, "return 3", "return 4", {"helper tools.c"}, "tools.py"),
    Case("an attribute by a constant name", BY_NAME, "b = 2", "b = 3", {"constant tools.b"}, "tools.py"),
    Case("not the others", BY_NAME, "a = 1", "a = 3", set(), "tools.py"),
    # distributions
    Case("a distribution's content", INSTALLED, "sha256=aaa", "sha256=abc", {"distribution lib-a"}, "lib_a-1.0.dist-info/RECORD"),
    Case("its source, which its record stands for", INSTALLED, "return x", "return -x", set(), "lib_a/__init__.py"),
    Case("what an installer adds", INSTALLED, "x.pyc,sha256=q", "x.pyc,sha256=r", set(), "lib_a-1.0.dist-info/RECORD"),
    Case("what it requires", INSTALLED, "sha256=bbb", "sha256=bcd", {"distribution lib-b"}, "lib_b-2.0.dist-info/RECORD"),
    Case("what only its extras require", INSTALLED, "sha256=ccc", "sha256=cde", set(), "lib_c-2.0.dist-info/RECORD"),
    # steps and what they declare
    flow("a step's plain function in a step", STEPS, "return x + 1", "return x + 2", "helper clean"),
    flow("what is named as extra, its code", STEPS, "def reached(): return 1", "def reached(): return 2", "helper reached"),
    flow("what is named as extra, a value", STEPS, "[reached, 5]", "[reached, 6]", "extra"),
    flow("an ignored constant", STEPS, "DEBUG = False", "DEBUG = True"),
    flow("an ignored helper", STEPS, "def log(x): return x", "def log(x): print(x)"),
    flow("an ignored parameter's default", STEPS, "verbose=True", "verbose=False"),
    flow("a method's other methods", METHOD, "x * self.rate", "x + self.rate", "class Trainer.helper"),
    flow("a method's class's attributes", METHOD, "rate = 1", "rate = 2", "class Trainer.rate"),
    # state
    flow("a list that the step fills", STATE, "calls = []", "calls = [1]"),
    flow("items that the step counts up", STATE, 'COUNTS = {"a": 1}', 'COUNTS = {"a": 2}'),
    flow("items that the step only reads", STATE, 'READ = {"a": 1}', 'READ = {"a": 2}', "constant READ"),
    flow("a global that the step sets", STATE, "total = 0", "total = 1"),
    flow("an object that its method changes", STATE, "tracker = Tracker(5)", "tracker = Tracker(5)\ntracker.note(1)"),
    flow("what its method leaves alone", STATE, "tracker = Tracker(5)", "tracker = Tracker(6)", "constant tracker"),
    flow("an object that its property's helper changes", STATE, "loaded = Loaded()", "loaded = Loaded()\nloaded.text"),
    flow("items of an object that is a dict", STATE, "loaded = Loaded()", "loaded = Loaded(b=1)"),
    flow("an attribute of an object that is a dict", STATE, "loaded = Loaded()", "loaded = Loaded()\nloaded.more = 1", "constant loaded"),
    flow("a dict of the class, which its objects fill", STATE, "seen = {}", "seen = {1: 1}"),
    flow("an attribute of the class", STATE, "size = 3", "size = 4", "class Loaded.size"),
    flow("a namespace's counter", STATE, "count=0", "count=1"),
    flow("a namespace's constant", STATE, "rate=1)", "rate=2)", "constant spaces"),
]  # fmt: skip


class Found(NamedTuple):
    """A case's two fingerprints, under two seeds and in two places; and as a cell, if it stands in one file."""

    before: Taken
    after: Taken
    elsewhere: Taken
    cell: Taken | None


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    befores, afters, cells = [], [], []
    for number, case in enumerate(CASES):
        assert case.files[case.file].count(case.before) == 1, case.name
        changed = {**case.files, case.file: case.files[case.file].replace(case.before, case.after)}
        befores.append(Job(written(one / f"before{number}", case.files)))
        afters.append(Job(written(other / f"after{number}", changed)))
        written(other / "again" / f"before{number}", case.files)
        if len(case.files) == 1:
            cells.append(befores[-1]._replace(as_cell=True))
    first = taken([*befores, *cells], seed="1", folder=one)
    again = taken([job._replace(folder=str(other / "again" / Path(job.folder).name)) for job in befores], seed="2", folder="/")
    changed_ones = taken(afters, seed="3", folder=other)
    as_cells = iter(first[len(befores) :])
    return {
        case.name: Found(first[number], changed_ones[number], again[number], next(as_cells) if len(case.files) == 1 else None)
        for number, case in enumerate(CASES)
    }


def written(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_change_counts_or_not_and_is_named(case: Case, found: dict[str, Found]) -> None:
    assert differing(found[case.name].before, found[case.name].after) == case.parts


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_seeds_folders_cells_and_modules_agree(case: Case, found: dict[str, Found]) -> None:
    one = found[case.name]
    assert differing(one.before, one.elsewhere) == set()
    if one.cell is not None:
        assert differing(one.before, one.cell) == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_why_names_the_change(case: Case, found: dict[str, Found]) -> None:
    def definition(one: Taken) -> Definition:
        return Definition(CodeId(bytes.fromhex(one.code)), "fit", parts=one.parts, places=one.places)

    changes = list(code_changes(definition(found[case.name].before), definition(found[case.name].after)))
    assert {f"{change.kind} {change.name}".strip() for change in changes} == case.parts
    for change in changes:
        assert change.before != change.after
        assert change.name in str(change) or change.kind in str(change)
