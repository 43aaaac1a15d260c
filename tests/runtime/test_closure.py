"""The closure in a living process: what changes is noticed, what cannot be followed is listed, what counts is explained."""

from __future__ import annotations

import ast
import gc
import os
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from types import CodeType, FunctionType
from typing import Any

import pytest

from ashore import Cache, GraphError, step
from ashore.fingerprint import Fingerprint, StepFingerprint, fingerprint_by, fingerprint_of, sources_of
from ashore.fingerprint.facts import facts_of

PROJECT = {
    "proj_config": "RATE = 3\nNAMES = ['a']\nTABLE = {'a': [1, {'b': 2}]}\n",
    "proj_clean": """
        import proj_config
        from proj_config import NAMES
        SEEN = {1, 2}

        def normalize(x, by=1):
            "Normalize."
            return x * proj_config.RATE + len(NAMES) + len(SEEN) + by

        class Model:
            alpha = 1
            def predict(self, x):
                return x

        model = Model()
        model.w = 1
    """,
    "proj_flow": """
        import proj_config
        from proj_clean import Model, model, normalize

        def fit(x, lr=0.1):
            return normalize(x), Model().predict(x), model.w, proj_config.TABLE
    """,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The modules of PROJECT, imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, source in PROJECT.items():
        (tmp_path / f"{name}.py").write_text(dedent(source), encoding="utf-8")
    yield {name.removeprefix("proj_"): __import__(name) for name in PROJECT}
    for name in PROJECT:
        sys.modules.pop(name)


def defined(source: str, name: str = "fit", **names: Any) -> FunctionType:
    module: dict[str, Any] = {"__name__": "made", **names}
    exec(compile(dedent(source), "made.py", "exec", dont_inherit=True), module)
    function = module[name]
    assert isinstance(function, FunctionType)
    return function


def taken(function: Callable[..., Any]) -> Fingerprint:
    return fingerprint_of(function, name="fit")


def _new_code(names: dict[str, Any]) -> None:
    names["clean"].normalize.__code__ = defined("def normalize(x, by=1): return by", "normalize").__code__


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], set[str]]] = {
    "a module's constant": (lambda names: setattr(names["config"], "RATE", 4), {"constant proj_config.RATE"}),
    "a list in place": (lambda names: names["config"].NAMES.append("b"), {"constant proj_clean.NAMES"}),
    "a set in place": (lambda names: names["clean"].SEEN.add(3), {"constant proj_clean.SEEN"}),
    "deep in a dict": (lambda names: names["config"].TABLE["a"][1].update(b=3), {"constant proj_config.TABLE"}),
    "a helper, set anew": (lambda names: setattr(names["flow"], "normalize", abs), {"helper proj_clean.normalize"}),
    "a helper's code": (_new_code, {"helper proj_clean.normalize"}),
    "a helper's default": (
        lambda names: setattr(names["clean"].normalize, "__defaults__", (2,)),
        {"default proj_clean.normalize.by"},
    ),
    "a class's attribute": (lambda names: setattr(names["clean"].Model, "alpha", 2), {"class proj_clean.Model.alpha"}),
    "a class's new attribute": (lambda names: setattr(names["clean"].Model, "beta", 2), {"class proj_clean.Model.beta"}),
    "a class's method": (lambda names: setattr(names["clean"].Model, "predict", len), {"class proj_clean.Model.predict"}),
    "an object's attribute": (lambda names: setattr(names["clean"].model, "w", 2), {"constant model"}),
    "a function's attribute": (lambda names: setattr(names["clean"].normalize, "rate", 2), set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_while_it_runs_is_noticed(change: str, project: dict[str, Any]) -> None:
    before = taken(project["flow"].fit)
    assert taken(project["flow"].fit) is before
    do, parts = CHANGES[change]
    do(project)
    after = taken(project["flow"].fit)
    assert after.code != before.code
    old, new = dict(before.parts), dict(after.parts)
    assert {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} >= parts
    assert taken(project["flow"].fit) is after


def test_a_step_whose_own_code_or_default_is_set_anew_is_noticed(project: dict[str, Any]) -> None:
    fit = project["flow"].fit
    codes = {taken(fit).code}
    fit.__defaults__ = (0.2,)
    codes.add(taken(fit).code)
    fit.__code__ = defined("def fit(x, lr=1): return x").__code__
    codes.add(taken(fit).code)
    assert len(codes) == 3


def test_what_is_remembered_does_not_keep_a_function_alive() -> None:
    helper = defined("def h(x): return x", "h")
    fit = defined("def make(helper):\n    def fit(x): return helper(x)\n    return fit", "make")(helper)
    taken(fit)
    alive = weakref.ref(fit)
    del fit
    gc.collect()
    assert alive() is None


def test_what_is_not_read_may_change(project: dict[str, Any]) -> None:
    before = taken(project["flow"].fit)
    project["config"].OTHER = 1
    project["clean"].other = lambda x: x
    assert taken(project["flow"].fit) is before


def test_a_large_array_in_place_is_noticed() -> None:
    numpy = pytest.importorskip("numpy")
    fit = defined("def fit(x): return x @ W", W=numpy.ones((100, 100)))
    before = taken(fit)
    assert taken(fit) is before
    fit.__globals__["W"][3, 3] = 2
    assert taken(fit).code != before.code
    fit.__globals__["W"][3, 3] = 1
    assert taken(fit).code == before.code


def test_tables_models_and_vectorized_functions_count_by_their_state() -> None:
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    sources = ("def fit(x): return T, F(x)", "def f(x): return x", "def f(x): return -x")
    made = [
        (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), numpy.vectorize(defined(sources[1], "f"))),
        (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), numpy.vectorize(defined(sources[1], "f"))),
        (pandas.DataFrame({"a": [1, 2], "b": ["x", "z"]}), numpy.vectorize(defined(sources[1], "f"))),
        (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), numpy.vectorize(defined(sources[2], "f"))),
    ]
    one, same, other_table, other_function = (taken(defined(sources[0], T=table, F=function)) for table, function in made)
    assert one.code == same.code
    assert len({one.code, other_table.code, other_function.code}) == 3
    assert {"distribution pandas", "distribution numpy"} <= dict(one.parts).keys()


UNFOLLOWED = [
    ("def fit(x): return eval(x)", "eval(...) runs code", "Write the code out"),
    ("def fit(x): exec('y = 1')", "exec(...) runs code", "Cache(extra=[...])"),
    (
        "import importlib\ndef fit(x): return importlib.import_module(x)",
        "importlib.import_module(...) imports",
        "Import it by name",
    ),
    (
        "from importlib import import_module as load\ndef fit(x): return load(x)",
        "importlib.import_module(...) imports",
        "Import it",
    ),
    ("def fit(x): return __import__(x)", "__import__(...) imports", "Import it by name"),
    ("def fit(x, y): return getattr(x, y)", "getattr(...) asks for a name", "Cache(extra=[...])"),
    ("def fit(x): return globals()[x]", "globals() reaches names", "Cache(extra=[...])"),
    ("import sys\ndef fit(x): return sys.modules[x]", "sys.modules finds modules", "Cache(extra=[...])"),
    ("import os\ndef fit(x): return os.environ['RATE']", "os.environ reads the environment", 'Cache(env=["RATE"])'),
    ("import os\ndef fit(x): return os.getenv('RATE', 'x')", "os.getenv reads the environment", 'Cache(env=["RATE"])'),
    ("from os import environ\ndef fit(x): return environ['RATE']", "os.environ reads the environment", 'Cache(env=["RATE"])'),
    ("def fit(x):\n    from os import environ\n    return environ.get('RATE')", "os.environ reads", 'Cache(env=["RATE"])'),
    ("def fit(x): return open('rates.csv').read()", "open('rates.csv') reads a file", 'Cache(files=["rates.csv"])'),
    ("import random\ndef fit(x): return random.random()", "random.random has state of its own", "from a seed"),
    ("import random\nR = random.Random(3)\ndef fit(x): return R.random()", "constant R: it is a Random", "from a seed"),
    ("import ctypes\ndef fit(x): return ctypes.CDLL('libm.so').cos(x)", "ctypes.CDLL calls a library", "Cache(files=[...])"),
    (
        "f = open(__import__('os').devnull)\ndef fit(x): return f",
        "constant f: it is a _io.TextIOWrapper, whose state",
        "inside the step",
    ),
    ("def fit(x): return missing(x)", "the name missing is not there yet", "Define it"),
    (
        "BIG = bytearray(20_000_000)\nALL = [BIG] * 3, 'x' * 20_000_000\ndef fit(x): return ALL",
        "constant ALL: a tuple: it holds more",
        "as an input",
    ),
    ("seen = []\ndef fit(x): seen.append(x)", "the global seen is changed by the code itself", "Cache(extra=[...])"),
    ("n = 0\ndef fit(x):\n    global n\n    n += x", "the global n is changed by the code itself", "as an input"),
    ("def fit(x):\n    import not_there\n    return not_there.x", "import not_there fails", "Mend the import"),
    ("def fit(x): return open(__file__).read()", "__file__ leads to files", "Cache(files="),
]


@pytest.mark.parametrize(("source", "what", "mend"), UNFOLLOWED)
def test_what_cannot_be_followed_is_listed(source: str, what: str, mend: str) -> None:
    listed = taken(defined(source)).unfollowed
    assert [one for one in listed if what in one.what and mend in one.mend], listed
    assert {one.where.partition(":")[0] for one in listed} == {"made.py"}
    assert all(one.where.partition(":")[2].isdigit() for one in listed)


CLEAR = [
    "def fit(x): return getattr(x, 'name'), hasattr(x, 'y'), len(x), isinstance(x, int), print",
    "import os\ndef fit(x): return os.path.join(x, 'a'), open(x)",
    "import json, math\ndef fit(x): return json.dumps(x), math.pi",
    "import re, logging\nP = re.compile('a')\nlog = logging.getLogger('x')\ndef fit(x): return P.sub('', x), log.info(x)",
    "import threading\nLOCK = threading.Lock()\ndef fit(x):\n    with LOCK: return x",
    "import numpy as np\ndef fit(x): return np.zeros(3), np.linalg.norm(x)",
]


@pytest.mark.parametrize("source", CLEAR)
def test_nothing_is_listed_without_need(source: str) -> None:
    if "numpy" in source:
        pytest.importorskip("numpy")
    assert taken(defined(source)).unfollowed == ()


def test_a_notice_names_the_line_it_stands_in(project: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "proj_more.py").write_text(
        "import os\n\n\ndef more():\n    x = 1\n    return os.environ['A'], x\n", encoding="utf-8"
    )
    project["clean"].normalize = __import__("proj_more").more
    project["flow"].normalize = project["clean"].normalize
    [listed] = taken(project["flow"].fit).unfollowed
    assert listed.where == f"{tmp_path / 'proj_more.py'}:6"
    sys.modules.pop("proj_more")


def test_the_environment_counts_if_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = defined("import os\ndef fit(x): return os.environ['FIT_RATE'], os.getenv('OTHER')")
    cache = Cache(env=["FIT_RATE", "OTHER"])
    codes = []
    for rate in ("hush", "quiet", None, "hush"):
        monkeypatch.delenv("FIT_RATE", raising=False)
        if rate:
            monkeypatch.setenv("FIT_RATE", rate)
        found = fingerprint_of(fit, name="fit", cache=cache)
        codes.append(found.code)
        assert found.unfollowed == ()
        assert rate is None or rate not in repr(found.parts), "a value may be a secret"
    assert codes[0] == codes[3]
    assert len(set(codes)) == 3
    monkeypatch.setenv("ELSE", "3")
    assert fingerprint_of(fit, name="fit", cache=cache).code == codes[3]


def test_files_count_by_their_content() -> None:
    fit = defined("def fit(x): return open('rates.csv').read()")
    cache = Cache(files="rates.csv")
    codes = [
        fingerprint_of(fit, name="fit", cache=cache, files={"rates.csv": digest}) for digest in (b"1" * 32, b"2" * 32, b"1" * 32)
    ]
    assert codes[0].code == codes[2].code != codes[1].code
    assert codes[0].unfollowed == ()
    assert "file rates.csv" in dict(codes[0].parts)


def test_paths_made_from_a_modules_place_count_as_they_lie_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from pathlib import Path\nHERE = Path(__file__).parent\nDATA = str(HERE / 'data')\nELSE = '/srv/data'\n"
        "def fit(x): return HERE, DATA, ELSE\n"
    )
    found = []
    for checkout in ("one", "other"):
        folder = tmp_path / checkout
        folder.mkdir()
        (folder / "placed_flow.py").write_text(source)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            found.append(taken(__import__("placed_flow").fit))
            sys.modules.pop("placed_flow")
    assert found[0].parts == found[1].parts
    assert found[0].code == found[1].code
    assert dict(found[0].parts)["constant ELSE"] == '"/srv/data"'


def test_explain_lists_what_counts_by_name_and_where(project: dict[str, Any]) -> None:
    explanation = StepFingerprint(project["flow"].fit, "fit", "step", Cache()).explain()
    places = {part.name: str(part.place) for part in explanation.counts}
    assert places["code"] == "proj_flow.py:5-6"
    assert places["helper proj_clean.normalize"] == "proj_clean.py:6-8"
    assert places["class proj_clean.Model.predict"] == "proj_clean.py:12-13"
    assert places["class proj_clean.Model"] == "proj_clean.py:10-13"
    assert places["constant proj_config.TABLE"] == "proj_config.py:3"
    assert {"constant proj_config.RATE", "class proj_clean.Model.alpha", "default lr", "python", "constant model"} <= places.keys()
    shown = str(explanation)
    assert "constant proj_config.RATE = 3  proj_config.py:1" in shown
    assert "helper proj_clean.normalize  proj_clean.py:6-8" in shown
    assert "not followed" not in shown
    eval_shown = str(StepFingerprint(defined("def fit(x): return eval(x)"), "fit", "step", Cache()).explain())
    assert "made.py:1: eval(...) runs code" in eval_shown


def test_steps_have_fingerprints(project: dict[str, Any]) -> None:
    made = step(project["flow"].fit)
    assert made.fingerprint.taken() == fingerprint_of(project["flow"].fit, name="fit")
    assert "fingerprint of fit" in repr(made.fingerprint)
    assert "def normalize" in made.fingerprint.sources()["helper proj_clean.normalize"]


def test_sources_are_those_of_the_parts(project: dict[str, Any], tmp_path: Path) -> None:
    found = sources_of(project["flow"].fit)
    assert found["code"].startswith("def fit(x, lr=0.1):\n")
    assert found["helper proj_clean.normalize"] == dedent(PROJECT["proj_clean"]).split("\n\n")[1] + "\n"
    assert found["class proj_clean.Model"].startswith("class Model:\n    alpha = 1\n")
    assert found["constant proj_config.RATE"] == "RATE = 3\n"
    assert not [name for name in found if "unread" in name]


def test_a_file_that_changed_after_it_was_imported_is_not_shown_as_what_runs(project: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "proj_clean.py"
    path.write_text(path.read_text().replace("* proj_config.RATE", "- proj_config.RATE"))
    assert "has been changed since" in sources_of(project["flow"].fit)["helper proj_clean.normalize"]
    assert "def fit" in sources_of(project["flow"].fit)["code"]


def test_the_first_rules_are_still_there() -> None:
    fit = defined("RATE = 3\ndef helper(x): return x\ndef fit(x, lr=0.1): return helper(x) * RATE")
    first, today = fingerprint_by(1, fit, name="fit"), fingerprint_by(2, fit, name="fit")
    assert dict(first.parts).keys() == {"code", "default lr", "constant RATE", "step", "role", "python"}
    assert (first.rules, today.rules) == (1, 2)
    assert dict(today.parts)["rules"] == "2"
    assert first.code != today.code == taken(fit).code
    fit.__globals__["helper"] = defined("def helper(x): return -x", "helper")
    assert fingerprint_by(1, fit, name="fit") == first
    assert fingerprint_by(2, fit, name="fit").code != today.code
    with pytest.raises(ValueError, match="knows 1 to 2"):
        fingerprint_by(3, fit, name="fit")


def test_the_first_rules_give_what_they_gave() -> None:
    """Recorded from ashore 0.1 on Python 3.11."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("code compiles differently")
    fit = defined("RATE = 3\ndef fit(x, lr=0.1): return x * RATE")
    assert fingerprint_by(1, fit, name="fit").code.hex() == "6b723da861d05ae05d8d77e4639a8992"


def test_cycles_and_long_chains_end() -> None:
    chain = "".join(f"def f{n}(x): return f{n + 1}(x)\n" for n in range(3000))
    fit = defined(f"{chain}def f3000(x): return f0(x)\nfit = f0", "f0")
    assert len(taken(fit).parts) > 3000
    node: dict[str, Any] = {"a": 1}
    node["self"] = [node]
    looped = defined("def fit(x): return LOOP", LOOP=node)
    first = taken(looped)
    assert taken(looped) is first
    node["a"] = 2
    assert taken(looped).code != first.code


def test_objects_that_know_one_another_end() -> None:
    source = """
        class Node:
            def __init__(self, up, value): self.up, self.down, self.value = up, [], value
        root = Node(None, 1)
        root.down.append(Node(root, 2))
        def fit(x): return root.value
    """
    one, other = taken(defined(source)), taken(defined(source.replace("Node(root, 2)", "Node(root, 3)")))
    assert one.code == taken(defined(source)).code != other.code


def test_two_functions_of_one_name_are_two_parts() -> None:
    source = (
        "def make(n):\n    def inner(x): return x * n\n    return inner\na, b = make(1), make({})\ndef fit(x): return a(x), b(x)"
    )
    one, other = (dict(taken(defined(source.format(n))).parts) for n in (2, 3))
    assert {name for name in one if one[name] != other[name]} == {"variable make.<locals>.inner (2).n"}


def test_what_a_cache_declares_is_checked() -> None:
    with pytest.raises(TypeError, match=r'give names as texts: Cache\(env=\["\.\.\."\]\)'):
        Cache(env=[3])  # type: ignore[list-item]
    with pytest.raises(GraphError, match="cache="):
        step(cache="1 day")(defined("def fit(x): return x"))
    made = step(cache=Cache(ignore="verbose"))(defined("def fit(x, verbose=True): return x"))
    assert made.options.declared == Cache(ignore="verbose")
    assert made.options.cache is True


def test_a_module_of_no_file_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("made_up")
    exec("RATE = 3\ndef helper(x): return x * RATE", module.__dict__)
    monkeypatch.setitem(sys.modules, "made_up", module)
    fit = defined("import made_up\ndef fit(x): return made_up.helper(x)")
    assert dict(taken(fit).parts)["constant made_up.RATE"] == "3"


STDLIB = Path(os.__file__).parent
LAYOUTS = ("argparse", "textwrap", "statistics", "fractions", "json/decoder", "optparse", "configparser", "heapq", "cmd", "string")


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_large_real_code_does_not_count(name: str) -> None:
    """Compilers thread jumps and join instructions by the lines that they stand in."""
    source = (STDLIB / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    anew = ast.unparse(tree)
    spread = dedent(anew).replace(" and ", " and \\\n ").replace(" or ", " or \\\n ").replace(" if ", " if \\\n ")
    texts = [anew, *([spread] if _is_same(spread, tree) else [])]
    digests = list(_digests(source))
    assert digests
    assert [[one for one, other in zip(digests, _digests(text), strict=True) if one != other] for text in texts] == [[]] * len(
        texts
    )


def _is_same(source: str, tree: ast.Module) -> bool:
    try:
        return ast.dump(ast.parse(source)) == ast.dump(tree)
    except SyntaxError:
        return False


def _digests(source: str) -> Iterator[tuple[str, bytes]]:
    code = compile(source, "x.py", "exec", dont_inherit=True)
    yield from ((one.co_qualname, facts_of(one).digest) for one in code.co_consts if isinstance(one, CodeType))


def test_annotations_of_every_form_do_not_count() -> None:
    """Of functions and classes inside of the step, which the compiler puts between the other instructions."""
    forms = [
        "",
        ": int",
        ": list[dict[str, int]]",
        ": 'later'",
        ": (a.b if c else d)",
        ": int | None",
        ": f(1, k=2)[3]",
        ": lambda: 3",
    ]
    found = set()
    for form in forms:
        body = f"def g(x{form}, *, y{form} = 2){form.replace(':', ' ->', 1)}:\n    return x + free\n"
        found.add(taken(defined(f"def fit(free):\n{indent(body, '    ')}    return g")).code)
    assert len(found) <= 2, "an annotation that jumps may count"


def test_an_ignored_name_that_is_nothing_is_told() -> None:
    rate = 3

    @step(cache=Cache(ignore=["rate", "verbos"]))
    def fit(x: int, verbose: bool) -> int:
        return x * rate

    (told,) = fit.fingerprint.explain().unfollowed
    assert "verbos" in told.what
    assert told.where.endswith(f":{fit.line}")
