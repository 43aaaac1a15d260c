"""pydantic models and attrs classes as values: the same when loaded, no validator run, classes that changed meanwhile."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore import Runtime, step
from ashore.codec import Undecodable, Unencodable, decode, encode, show
from ashore.errors import WrongArgument
from ashore.materialize import Unserialisable, check_loads_back, dump_value, load_value
from ashore.parameters import parsed
from ashore.signatures import Parameter

attrs = pytest.importorskip("attrs")
pydantic = pytest.importorskip("pydantic")

from tests.runtime.samples import models as sample  # noqa: E402  # needs both
from tests.runtime.values import values  # noqa: E402

LARGE = 1 << 30

plain = st.one_of(st.none(), st.integers(), st.text(st.characters(codec="utf-8"), max_size=5), st.floats(allow_nan=False))
lists = st.lists(plain, max_size=3)
configs = st.one_of(st.builds(sample.Config), st.builds(sample.Config, lr=st.floats(allow_nan=False), layers=lists))
layers = st.builds(sample.Layer, st.integers(), parts=lists)
objects = st.recursive(
    st.one_of(configs, layers, st.builds(sample.Key, st.text(max_size=3), plain), st.builds(sample.Names, st.lists(st.just("a")))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: sample.Config(layers=items)),
        st.builds(lambda x, y: sample.Open(x=x, **{"y": y, "é": None}), st.integers(), inner),
        st.builds(sample.Layer, st.integers(), parts=st.lists(inner, max_size=3)),
        st.builds(sample.Deep, st.integers(), below=layers),
    ),
    max_leaves=6,
)


@given(objects)
def test_instances_come_back_equal_and_of_their_classes(value: Any) -> None:
    loaded = decode(encode(value))
    assert type(loaded) is type(value)
    assert loaded == value
    assert repr(loaded) == repr(value)
    assert encode(loaded) == encode(value)


@given(values)
def test_what_fields_hold_keeps_its_types(value: Any) -> None:
    for holding in (sample.Config.model_construct(layers=[value]), sample.Layer(1, parts=[value])):
        dumped = dump_value(holding, limit=LARGE)
        assert dumped.data is not None
        check_loads_back(holding, dumped.format, dumped.data)


def test_which_fields_were_given_is_kept() -> None:
    assert decode(encode(sample.Config(lr=0.5))).model_dump(exclude_unset=True) == {"lr": 0.5}
    assert encode(sample.Config()) != encode(sample.Config(lr=0.1))


def test_extra_fields_private_attributes_and_what_was_remembered() -> None:
    value = sample.samples()["extra and private"]
    loaded = decode(encode(value))
    assert (loaded.model_extra, loaded._seen) == ({"y": [1, {"z": None}]}, {"a": 1})
    assert "twice" not in vars(loaded)  # computed again when asked for
    assert loaded.twice == 2


def test_hashes_are_not_those_of_another_process() -> None:
    for value in (sample.Key("k"), sample.Loose("n")):
        data = encode(value)
        hash(value)
        object.__setattr__(value, "_attrs_cached_hash", 4711)
        assert encode(value) == data
        assert hash(decode(data)) == hash(type(value)(value.name))


def test_people_see_fields_by_name() -> None:
    shown = show(encode(sample.samples()["extra and private"]))
    assert shown == {"class": "tests.runtime.samples.models.Open", "x": 1, "y": [1, {"z": None}]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: sample.Layer(1, parts=[len]), r"value\.parts\[0\] is a builtin_function_or_method"),
        (lambda: sample.Open.model_validate({"x": 1, "y": object()}), r"value\.model_extra\['y'\] is an object"),
        (lambda: sample.Config.model_construct(layers=[len]), r"value\.layers\[0\] is a builtin"),
        (
            lambda: sample.Box[bytes](value=b""),
            r"Box\[bytes\] that is not what is found .*: give it a name at the top",
        ),
        (lambda: pydantic.create_model("Gone", x=(int, 1), __module__=__name__)(), "not what is found under that name"),
        (lambda: sample.Open.model_construct(_fields_set=set()), "has no value in its field 'x'"),
        (lambda: attrs.make_class("Local", ["x"])(1), "not what is found under that name"),
        (lambda: pydantic.SecretStr("s"), "no stored form"),
    ],
)
def test_what_would_not_come_back_is_refused(value: Any, message: str) -> None:
    with pytest.raises(Unencodable, match=message):
        encode(value())


# --- classes that changed ---


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(source: str) -> Any:
        module = ModuleType("made")
        monkeypatch.setitem(sys.modules, "made", module)
        exec(f"import attrs, dataclasses, msgspec, pydantic, typing\n{source}", vars(module))
        return module

    return make


KINDS = {
    "pydantic": ("class Model(pydantic.BaseModel):\n", "pydantic.Field(default_factory=list)", "a pydantic model"),
    "attrs": ("@attrs.define\nclass Model:\n", "attrs.Factory(list)", "an attrs class"),
    "attrs without slots": ("@attrs.define(slots=False)\nclass Model:\n", "attrs.Factory(list)", "an attrs class"),
    "dataclass": ("@dataclasses.dataclass\nclass Model:\n", "dataclasses.field(default_factory=list)", "a dataclass"),
    "struct": ("class Model(msgspec.Struct):\n", "msgspec.field(default_factory=list)", "a struct"),
    "named tuple": ("class Model(typing.NamedTuple):\n", "[]", "a namedtuple"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_came_since_has_its_default(kind: str, made: Any) -> None:
    head, factory, _ = KINDS[kind]
    data = encode(made(f"{head}    x: int\n").Model(x=1))
    module = made(f"{head}    x: int\n    y: int = 2\n    z: list = {factory}\n")
    loaded, other = decode(data), decode(data)
    assert type(loaded) is module.Model
    assert (loaded.x, loaded.y, loaded.z) == (1, 2, [])
    assert kind == "named tuple" or loaded.z is not other.z
    assert loaded == module.Model(x=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_has_no_room_for_the_value_is_refused(kind: str, made: Any) -> None:
    head, _, noun = KINDS[kind]
    data = encode(made(f"{head}    x: int\n    y: int\n").Model(x=1, y=2))
    made(f"{head}    x: int\n")
    with pytest.raises(Undecodable, match=r"with the fields x, y of made:Model, which has x now: run the step again"):
        decode(data)
    made(f"{head}    x: int\n    y: int\n    z: int\n")
    with pytest.raises(Undecodable, match=r"which has x, y, z now: give 'z' a default, run the step again"):
        decode(data)
    made("class Model: pass")
    with pytest.raises(Undecodable, match=f"needs made:Model to be {noun}, but it is not one"):
        decode(data)
    made("")
    with pytest.raises(Undecodable, match="has no such class any more"):
        decode(data)


def test_fields_in_another_order_are_the_same_fields(made: Any) -> None:
    for head, _, _ in KINDS.values():
        data = encode(made(f"{head}    x: int\n    y: int\n").Model(x=1, y=2))
        made(f"{head}    y: int\n    x: int\n")
        loaded = decode(data)
        assert (loaded.x, loaded.y) == (1, 2)


def test_nothing_of_the_class_is_run(made: Any) -> None:
    boom = "    def {}(me, given): raise SystemExit('ran')\n"
    model = "class Model(pydantic.BaseModel):\n    x: int\n"
    data = encode(made(model).Model(x=1))
    checked = f"    @pydantic.field_validator('x')\n    @classmethod\n{boom.format('check')}"
    made(f"{model}    _p: int = 3\n{boom.format('model_post_init')}{checked}")
    assert decode(data).x == 1
    assert decode(data)._p == 3
    layer = "@attrs.define\nclass Model:\n    x: int\n"
    data = encode(made(layer).Model(1))
    made(layer + boom.format("__attrs_post_init__"))
    assert decode(data).x == 1


def test_a_model_that_took_more_than_its_fields(made: Any) -> None:
    open_ = "class Model(pydantic.BaseModel, extra='allow'):\n    x: int\n    _p: int = 3\n"
    data = encode(made(open_).Model(x=1, more=2))
    made("class Model(pydantic.BaseModel):\n    x: int\n    _p: int = 3\n")
    with pytest.raises(Undecodable, match=r"the extra fields more of Model, .* no room .* allow them again"):
        decode(data)
    made("class Model(pydantic.BaseModel, extra='allow'):\n    x: int\n")
    with pytest.raises(Undecodable, match="private attributes _p of Model"):
        decode(data)


def test_new_defaults_of_attrs_are_converted_and_may_take_the_instance(made: Any) -> None:
    head = "@attrs.define\nclass Model:\n    x: int\n"
    data = encode(made(head).Model(1))
    made(
        f"{head}    y: str = attrs.field(default=5, converter=str)\n"
        "    z: int = attrs.field()\n    @z.default\n    def _(self): return self.x + 1\n"
        "    w: typing.Any = attrs.field(default=7, converter=attrs.Converter(lambda v, me: (v, me.x), takes_self=True))\n"
    )
    loaded = decode(data)
    assert (loaded.y, loaded.z, loaded.w) == ("5", 2, (7, 1))


# --- as arguments and results ---


@step(cache=True)
def grown(config: sample.Config, layer: sample.Layer) -> sample.Layer:
    return sample.Layer(layer.width + len(config.layers))


@pytest.mark.anyio
async def test_as_arguments_they_are_part_of_the_key_and_as_results_they_come_back(rt: Runtime) -> None:
    first = await rt.start(grown(sample.Config(layers=[1]), sample.Layer(2)))
    assert await first == sample.Layer(3)
    again = await rt.start(grown(sample.Config(layers=[1]), sample.Layer(2)))
    assert await again == sample.Layer(3)
    assert again.counts()["cached"] == 1
    other = await rt.start(grown(sample.Config(layers=[1, 2]), sample.Layer(2)))
    assert await other == sample.Layer(4)


def test_a_model_with_what_has_no_stored_form_says_where() -> None:
    with pytest.raises(Unserialisable, match=r"result\.layers\[0\] is a builtin_function_or_method"):
        dump_value(sample.Config.model_construct(layers=[len]), limit=LARGE)


def test_a_table_inside_of_a_model() -> None:
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    value = sample.Layer(1, parts=[polars.DataFrame({"x": [1, 2]})])
    dumped = dump_value(value, limit=LARGE)
    assert dumped.data is not None
    check_loads_back(value, dumped.format, dumped.data)
    assert load_value(dumped.format, dumped.data).parts[0].equals(value.parts[0])


def test_on_the_command_line_they_are_json() -> None:
    def read(annotation: Any, text: str) -> Any:
        return parsed(Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation), text)

    assert read(sample.Config, '{"lr": 0.5, "called": "x"}') == sample.Config(lr=0.5, called="x")
    assert read(list[sample.Config], '[{"lr": 1}]') == [sample.Config(lr=1)]
    assert read(sample.Config | None, "null") is None
    assert read(sample.Layer, '{"width": 2}') == sample.Layer(2)
    with pytest.raises(WrongArgument, match=r"is no Config \((.|\n)*valid number"):
        read(sample.Config, '{"lr": "no"}')
    with pytest.raises(WrongArgument, match=r"is no Layer \(Expected `int`, got `str` - at `\$\.width`\)"):
        read(sample.Layer, '{"width": "no"}')
