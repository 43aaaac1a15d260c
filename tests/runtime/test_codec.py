"""The codec: what comes back, canonical bytes, what is refused and how it is said, hostile bytes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.values import Access, Colour, Pair, Point, Record, Slotted, same, text, values

from ashore.codec import Undecodable, Unencodable, decode, encode, is_plain, show
from ashore.files import File

ROOT = Path(__file__).parents[2]
LONG = "x" * 300


@given(values)
def test_what_is_encoded_comes_back_the_same(value: Any) -> None:
    data = encode(value)
    back = decode(data)
    assert same(back, value)
    assert encode(back) == data


@given(values)
def test_what_is_shown_is_json(value: Any) -> None:
    json.dumps(show(encode(value)), allow_nan=False).encode("ascii")


@given(st.recursive(st.one_of(st.integers(-9, 9), st.floats(), text), lambda v: st.one_of(st.lists(v), st.dictionaries(text, v))))
def test_a_plain_value_has_one_encoding_whichever_way_it_takes(value: Any) -> None:
    assert encode([value, ()])[1:].startswith(encode(value))


def test_each_decoding_is_a_new_object() -> None:
    data = encode({"x": [1]})
    first = decode(data)
    first["x"].append(2)
    assert decode(data) == {"x": [1]}


SETS = """
import sys; sys.path[:0] = {paths!r}
from ashore.codec import encode
value = {{frozenset({{"a", "b", "c"}}), "x", 3, None, (1, frozenset({{"q", "w", "e", "r"}}))}}
print(encode([value, {{"k": value}}]).hex())
"""


def run_python(code: str, *, hashseed: str = "0") -> str:
    env = {"PYTHONHASHSEED": hashseed, "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    return done.stdout.strip()


def test_bytes_are_equal_under_every_hash_seed() -> None:
    code = SETS.format(paths=[str(ROOT / "runtime"), str(ROOT / "stores")])
    assert len({run_python(code, hashseed=seed) for seed in ("1", "2", "77")}) == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ({1}, frozenset({1})),
        ("a", b"a"),
        (b"a", bytearray(b"a")),
        (Point(1), Pair(1, 0)),
    ],
)
def test_what_differs_in_type_differs_in_bytes(left: object, right: object) -> None:
    assert encode(left) != encode(right)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_containers_may_lie_a_hundred_deep_and_no_deeper() -> None:
    assert decode(encode(nested(100))) == nested(100)
    with pytest.raises(Unencodable, match="contains itself"):
        encode(nested(101))
    with pytest.raises(Unencodable, match="contains itself"):
        encode(nested(100_000))


def test_a_value_that_contains_itself_is_refused() -> None:
    cycle: dict[str, Any] = {}
    cycle["self"] = [cycle]
    with pytest.raises(Unencodable, match="contains itself") as caught:
        encode(cycle)
    assert len(str(caught.value)) < 500


class Counter(dict[str, int]):
    pass


class Meters(float):
    pass


@dataclasses.dataclass
class Loose:
    x: int


def loose() -> Loose:
    value = Loose(1)
    value.extra = 2  # type: ignore[attr-defined]
    return value


@dataclasses.dataclass
class Closing:
    path: str

    def __del__(self) -> None: ...


@dataclasses.dataclass
class Listed(list[int]):
    x: int = 0


REFUSED: list[tuple[Any, str]] = [
    (object(), "result is an object, which has no stored form"),
    ({"x": [1, {2: object()}]}, r"result\['x'\]\[1\]\[2\] is an object"),
    ((1, Point(0, Slotted("a", [len]))), r"result\[1\]\.y\.items\[0\] is a builtin_function_or_method"),
    ({(1, Loose): 1}, "result's key <tuple>"),
    (collections.OrderedDict(a=1), r"a collections.OrderedDict, which would come back as a plain dict: return dict\(...\) of it"),
    ([Counter(a=1)], r"result\[0\] is a .*Counter, which would come back as a plain dict"),
    (Meters(3), "would come back as a plain float"),
    (loose(), "attribute 'extra' beside its fields"),
    (Closing("x"), "has no stored form"),
    (Listed(1), "would come back as a plain list"),
    (dataclasses.make_dataclass("Local", ["x"], namespace={"__qualname__": "f.<locals>.Local"})(1), "local to a function"),
    (dataclasses.make_dataclass("Gone", ["x"], namespace={"__module__": __name__})(1), "not what is found under that name"),
    (dt.datetime(2026, 1, 1, tzinfo=type("Odd", (dt.tzinfo,), {})()), "time zone"),
    ({LONG: len}, r"x\.\.\.\]"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_would_not_come_back_the_same_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(Unencodable, match=message):
        encode(value, name="result")


def test_show_tells_classes_without_having_them() -> None:
    data = encode({"p": Point(1, Pair("l", float("inf"))), "c": [Colour.RED, Access.READ | Access.WRITE], "f": File("x.csv")})
    shown = show(data)
    assert shown["p"]["x"] == 1
    assert shown["p"]["y"]["right"] == "inf"
    assert shown["c"] == ["tests.runtime.values.Colour.RED", "tests.runtime.values.Access.READ|WRITE"]
    assert shown["f"] == {"file": "x.csv"}


def module_with(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    module.__dict__["dataclass"] = dataclasses.dataclass
    sys.modules[name] = module
    exec(source, module.__dict__)
    return module


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "made", ModuleType("made"))
    return lambda source: module_with("made", source)


MODEL = "@dataclass\nclass Model:\n    x: int\n    y: int\n    def __post_init__(self): raise SystemExit('ran')\n"


def test_a_class_is_found_only_where_it_is_imported_and_with_the_fields_it_had(made: Any) -> None:
    module = made(MODEL)
    value = object.__new__(module.Model)
    value.x, value.y = 1, 2
    data = encode(value)
    assert vars(decode(data)) == {"x": 1, "y": 2}  # without __init__
    made(MODEL.replace("y: int", "z: int"))
    with pytest.raises(Undecodable, match="fields x, y of made:Model, which has x, z now"):
        decode(data)
    made("class Model: pass")
    with pytest.raises(Undecodable, match="to be a dataclass, but it is not one"):
        decode(data)
    made("def __getattr__(name): raise SystemExit('ran')")
    with pytest.raises(Undecodable, match="no such class any more"):
        decode(data)
    del sys.modules["made"]
    with pytest.raises(Undecodable, match="`import made` first"):
        decode(data)
    assert show(data) == {"class": "made.Model", "x": 1, "y": 2}


def test_an_enum_whose_value_changed_is_not_the_same(made: Any) -> None:
    data = encode(made("import enum\nclass Kind(enum.Enum):\n    A = 1\n").Kind.A)
    made("import enum\nclass Kind(enum.Enum):\n    A = 2\n")
    with pytest.raises(Undecodable, match=r"Kind\.A was 1 when it was stored, and is 2 now"):
        decode(data)
    made("import enum\nclass Kind(enum.Enum):\n    B = 1\n")
    with pytest.raises(Undecodable, match="no member"):
        decode(data)


SCRIPT = """
import sys; sys.path[:0] = {paths!r}
from dataclasses import dataclass
from ashore.codec import decode, encode
@dataclass
class Model:
    x: int
if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(decode(bytes.fromhex(sys.argv[1])))
    else:
        print(encode(Model(3)).hex())
"""


def test_a_class_of_a_script_is_the_class_of_its_module(tmp_path: Path) -> None:
    script = tmp_path / "flights.py"
    script.write_text(SCRIPT.format(paths=[str(ROOT / "runtime"), str(ROOT / "stores"), str(tmp_path)]))
    by_script = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout.strip()
    here = f"import sys; sys.path[:0] = {[str(ROOT / 'runtime'), str(ROOT / 'stores'), str(tmp_path)]!r}\n"
    by_import = run_python(here + "import flights; from ashore.codec import encode; print(encode(flights.Model(3)).hex())")
    assert by_script == by_import
    assert (
        run_python(here + f"import flights; from ashore.codec import decode; print(decode(bytes.fromhex('{by_script}')))")
        == "Model(x=3)"
    )
    again = subprocess.run([sys.executable, str(script), by_import], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == "Model(x=3)"


PROMPT = "import dataclasses\n@dataclasses.dataclass\nclass Model:\n    x: int\nfrom ashore.codec import decode, encode\n"


def test_a_class_of_a_prompt_is_known_there_and_the_error_elsewhere_says_so() -> None:
    here = f"import sys; sys.path[:0] = {[str(ROOT / 'runtime'), str(ROOT / 'stores')]!r}\n"
    data = run_python(f"{here}{PROMPT}print(encode(Model(3)).hex())")
    assert run_python(f"{here}{PROMPT}print(decode(bytes.fromhex({data!r})))") == "Model(x=3)"
    with pytest.raises(Undecodable, match="defined in a notebook or at a prompt"):
        decode(bytes.fromhex(data))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_undecodable(data: bytes) -> None:
    for read in (decode, show):
        with contextlib.suppress(Undecodable):
            read(data)


@given(values, st.data())
def test_a_flipped_bit_never_does_worse_than_another_value(value: Any, data: st.DataObject) -> None:
    raw = bytearray(encode(value))
    position = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[position // 8] ^= 1 << position % 8
    before = set(sys.modules)
    for read in (decode, show):
        with contextlib.suppress(Undecodable):
            read(bytes(raw))
    fetched = ("tzdata", "importlib.")  # where the system has no time zones, zoneinfo fetches them from a package of data
    assert {name for name in set(sys.modules) - before if not name.startswith(fetched)} == set()


def hostile(code: int, *node: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(list(node))))


@pytest.mark.parametrize(
    "data",
    [
        hostile(33, "subprocess:Popen", ["args"], ["id"]),
        hostile(33, "os:system", [], []),
        hostile(33, "tests.runtime.test_codec:Closing", ["path"], ["x"]),
        hostile(34, "builtins:dict", [], []),
        hostile(35, "builtins:tuple", [], []),
        hostile(32, "not_yet_imported.module:Kind", ["A"]),
        hostile(33, "antigravity:Model", ["x"], [1]),
        hostile(33, 3, 4, 5),
        hostile(17, "system", "x"),
        hostile(23, "|O8", b"\0" * 8),
        hostile(23, "<f8,O", b"\0" * 8),
        hostile(15) + b"",
        msgspec.msgpack.encode(msgspec.msgpack.Ext(15, b"../../etc/passwd")),
        hostile(2, [1]),
        hostile(48, "npy/1", b""),
        hostile(99, 1),
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"",
    ],
)
def test_hostile_bytes_are_refused_and_nothing_runs(data: bytes) -> None:
    ran: list[str] = []
    armed = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if armed and event in ("import", "os.system", "subprocess.Popen", "exec", "compile", "open"):
            ran.append(f"{event} {args[:1]}")

    sys.addaudithook(hook)
    with pytest.raises(Undecodable):
        decode(data)
    armed = False
    assert ran == []


def test_nested_extensions_do_not_exhaust_the_stack() -> None:
    data = b"\x01"
    for _ in range(3000):
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(1, b"\x91" + data))
    with pytest.raises(Undecodable, match="too deep"):
        decode(data)


def test_plain_is_exact() -> None:
    assert is_plain({"a": [1, 2.0, None, {"b": b"x"}]})
    for value in ((1,), {1: 2}, {"a": {1}}, [Meters(1)], Record("x"), {f"k{n}": (n,) for n in range(40)}):
        assert not is_plain(value)


class TestFile:
    def test_is_a_path_that_is_equal_by_path_and_content(self) -> None:
        file = File(Path("inbox/jan.csv"))
        assert Path(file) == Path("inbox/jan.csv")
        assert (file.path, file.name, file.size, file.digest) == ("inbox/jan.csv", "jan.csv", -1, b"")
        assert File("x", 3, 10, b"d" * 32) == File("x", 3, 11, b"d" * 32)
        assert hash(File("x", 3, 10, b"d" * 32)) == hash(File("x", 3, 11, b"d" * 32))
        assert File("x") != File("x", 3, 10, b"d" * 32)
        assert repr(file) == "File('inbox/jan.csv')"

    def test_cannot_be_changed(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            File("x").path = "y"  # type: ignore[misc]

    @pytest.mark.parametrize("path", ["", "a\0b"])
    def test_refuses_what_is_no_path(self, path: str) -> None:
        with pytest.raises(ValueError, match="a path"):
            File(path)
