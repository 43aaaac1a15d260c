"""Materializers: every kind of value comes back, in this process and in another; what does not is refused; registering."""

from __future__ import annotations

import collections
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from tests.runtime.samples import PRESENT, samples
from tests.runtime.values import Colour, Point, Record, same, values

from ashore.materialize import (
    MaterializeError,
    NotEqual,
    Unloadable,
    Unserialisable,
    check_loads_back,
    dump_to,
    dump_value,
    load_value,
    may_share,
    register,
)
from ashore_stores.artifacts.base import Sink
from ashore_stores.errors import Full
from ashore_stores.keys import Buffer

ROOT = Path(__file__).parents[2]
LARGE = 1 << 30


def stored(value: Any) -> tuple[str, bytes]:
    dumped = dump_value(value, limit=LARGE)
    assert dumped.data is not None
    assert dumped.size == len(dumped.data)
    return dumped.format, dumped.data


def identity(value: Any) -> str:
    dumped = dump_value(value, limit=LARGE)
    return hashlib.sha256(dumped.content or dumped.data or b"").hexdigest()


@given(values)
def test_plain_values_come_back(value: Any) -> None:
    form, data = stored(value)
    check_loads_back(value, form, data)
    assert same(load_value(form, data), value)


@pytest.mark.parametrize("kind", PRESENT)
def test_every_sample_comes_back_here(kind: str) -> None:
    for value in samples(kind).values():
        form, data = stored(value)
        check_loads_back(value, form, data)
        loaded = load_value(form, memoryview(data))
        assert type(loaded) is type(value)
        assert identity(loaded) == identity(value)


@pytest.mark.parametrize("kind", PRESENT)
def test_writing_to_a_sink_gives_the_same(kind: str) -> None:
    for value in samples(kind).values():
        sink = io.BytesIO()
        dump_to(value, sink)
        dumped = dump_value(value, limit=LARGE)
        if not dumped.content:
            assert sink.getvalue() == dumped.data
        check_loads_back(value, dumped.format, sink.getvalue())


ELSEWHERE = """
import json, sys
from pathlib import Path
from ashore.materialize import check_loads_back
from tests.runtime.samples import samples
from tests.runtime.test_materialize import identity
folder, kind, forms = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
for place, (name, value) in enumerate(samples(kind).items()):
    data = (folder / str(place)).read_bytes()
    check_loads_back(value, forms[place], data)
    print(identity(value))
"""


@pytest.mark.parametrize("kind", PRESENT)
def test_a_fresh_process_loads_what_was_stored_and_stores_the_same(kind: str, tmp_path: Path) -> None:
    forms, identities = [], []
    for place, value in enumerate(samples(kind).values()):
        form, data = stored(value)
        (tmp_path / str(place)).write_bytes(data)
        forms.append(form)
        identities.append(identity(value))
    paths = os.pathsep.join(map(str, (ROOT / "runtime", ROOT / "stores", ROOT)))
    env = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": paths}
    arguments = [sys.executable, "-c", ELSEWHERE, str(tmp_path), kind, json.dumps(forms)]
    done = subprocess.run(arguments, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == identities


def test_what_is_larger_than_the_limit_is_left_to_be_written() -> None:
    dumped = dump_value(["x" * 100], limit=50)
    assert (dumped.data, dumped.format, dumped.type, dumped.size) == (None, "value/1", "list", 103)
    assert dump_value(["x" * 100], limit=103).data is not None


def test_containers_and_their_errors_say_where() -> None:
    with pytest.raises(Unserialisable, match=r"result\['x'\]\[0\] is a set_iterator, which has no stored form"):
        dump_value({"x": [iter({1})]}, limit=LARGE)
    lost = object()
    with pytest.raises(Unserialisable, match="score is an object") as caught:
        dump_value(lost, limit=LARGE, name="score")
    assert caught.value.value is lost
    with pytest.raises(Unserialisable, match="Return dict"):
        dump_value(collections.OrderedDict(), limit=LARGE)


def test_only_what_cannot_be_changed_is_shared() -> None:
    assert may_share("value/1", ("a", 1, None, Colour.RED, frozenset({b"x"})))
    for value in ([1], {"a": 1}, ([1],), {1}, bytearray(b"x"), Point(1, 2), Record("x")):
        assert not may_share("value/1", value)


def test_each_loading_of_a_container_is_a_new_one() -> None:
    form, data = stored({"a": [1]})
    load_value(form, data)["a"].append(2)
    assert load_value(form, data) == {"a": [1]}


def test_an_unknown_format_says_what_to_do() -> None:
    with pytest.raises(Unloadable, match="no materializer here knows the format 'hdf/3'"):
        load_value("hdf/3", b"")
    with pytest.raises(Unloadable, match="not an encoded value"):
        load_value("value/1", b"\xc1")


class Track:
    def __init__(self, points: list[int]) -> None:
        self.points = points


class Loop(Track):
    pass


class TrackMaterializer:
    format = "track/1"

    def dump(self, value: Track, sink: Sink) -> None:
        sink.write(bytes(value.points))

    def load(self, data: Buffer) -> Track:
        return Track(list(bytes(data)))

    def content(self, value: Track) -> bytes:
        return b""

    def shares(self, value: Track) -> bool:
        return False


class Sloppy(TrackMaterializer):
    format = "sloppy/1"

    def load(self, data: Buffer) -> Track:
        return Track(sorted(bytes(data)))


class Half(TrackMaterializer):
    format = "half/1"

    def dump(self, value: Track, sink: Sink) -> None:
        sink.write(b"half")
        raise OverflowError("too far")


class Reordering(TrackMaterializer):
    """Not byte-equal, but with a content digest."""

    format = "reordering/1"

    def load(self, data: Buffer) -> Track:
        return Track(list(bytes(data))[::-1])

    def content(self, value: Track) -> bytes:
        return bytes(sorted(value.points))


def made(base: type, materializer: Any) -> Any:
    cls = type(f"My{base.__name__}", (base,), {})
    register(cls, materializer)
    materializer.load = lambda data, load=materializer.load: rebuilt(cls, load(data))
    return cls


def rebuilt(cls: type, value: Track) -> Any:
    value.__class__ = cls
    return value


def test_a_registered_type_is_stored_by_its_materializer_also_inside_of_others() -> None:
    cls = made(Track, TrackMaterializer())
    for value in (cls([1, 2]), {"t": [cls([3])]}):
        form, data = stored(value)
        check_loads_back(value, form, data)
    assert form == "value/1"
    assert load_value(form, data)["t"][0].points == [3]
    assert dump_value(cls([1]), limit=9).format == "track/1"


def test_a_subclass_that_would_come_back_as_its_base_is_not_equal() -> None:
    register(Track, TrackMaterializer())
    loop = Loop([1])
    form, data = stored(loop)
    with pytest.raises(NotEqual, match=r"Loop comes back as a .*Track from track/1") as caught:
        check_loads_back(loop, form, data)
    assert caught.value.value is loop


def test_what_comes_back_with_other_content_is_not_equal() -> None:
    cls = made(Track, Sloppy())
    form, data = stored(cls([1, 2]))
    check_loads_back(cls([1, 2]), form, data)
    form, data = stored(cls([2, 1]))
    with pytest.raises(NotEqual, match="comes back with other content"):
        check_loads_back(cls([2, 1]), form, data)


def test_a_content_digest_stands_in_for_equal_bytes() -> None:
    cls = made(Track, Reordering())
    form, data = stored(cls([1, 2]))
    check_loads_back(cls([1, 2]), form, data)
    one, other = (dump_value({"t": cls(points)}, limit=LARGE) for points in ([1, 2], [2, 1]))
    assert one.content == other.content != b""
    assert one.data != other.data


def test_a_materializer_that_fails_half_way_is_named() -> None:
    cls = made(Track, Half())
    for call in (
        lambda: dump_value(cls([1]), limit=9),
        lambda: dump_to(cls([1]), io.BytesIO()),
        lambda: dump_value([cls([1])], limit=9),
    ):
        with pytest.raises(Unserialisable, match="half/1: OverflowError: too far"):
            call()


class FullSink:
    def write(self, data: Buffer, /) -> int:
        raise Full("the disk is full")


@pytest.mark.parametrize("kind", PRESENT)
def test_what_the_sink_raises_reaches_the_caller_as_it_is(kind: str) -> None:
    for value in samples(kind).values():
        with pytest.raises(Full, match="the disk is full"):
            dump_to(value, FullSink())


@pytest.mark.parametrize(
    ("cls", "form", "message"),
    [(dict, "d/1", "stored form already"), (Loop, "loop", "no format"), (Loop, "value/1", "is built in")],
)
def test_registering_refuses_what_would_be_ambiguous(cls: type, form: str, message: str) -> None:
    materializer = TrackMaterializer()
    materializer.format = form
    with pytest.raises(MaterializeError, match=message):
        register(cls, materializer)


def test_plain_values_load_no_library() -> None:
    code = (
        "import sys\nfrom ashore.materialize import *\n"
        "d = dump_value({'a': [1, (2,)]}, limit=99); check_loads_back({'a': [1, (2,)]}, d.format, d.data)\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'sklearn', 'skops', 'polars', 'pydantic', 'attr'}\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "runtime", ROOT / "stores")))}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip() == "[]"
