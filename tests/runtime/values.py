"""Random plain values, and an equality that knows types, signs and nan: shared by the tests of codec and materializers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import struct
from enum import Enum, Flag, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st

from ashore.files import File


class Colour(Enum):
    RED = 1
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Access(Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(slots=True)
class Slotted:
    name: str
    items: list[Any] = dataclasses.field(default_factory=list)


class Pair(NamedTuple):
    left: Any
    right: Any


class Record(msgspec.Struct):
    name: str
    data: Any = None


class Fixed(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    data: Any = None


text = st.text(st.characters(), max_size=8)  # lone surrogates, too
zones = st.one_of(
    st.none(),
    st.sampled_from(
        [dt.UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), dt.timezone(dt.timedelta(hours=-3, microseconds=5), "here")]
    ),
)
hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.complex_numbers(allow_nan=False),
    text,
    st.binary(max_size=8),
    st.decimals(allow_nan=False),
    st.dates(),
    st.times(timezones=zones),
    st.datetimes(timezones=zones),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([*Colour, *Level, Access.READ, Access.READ | Access.WRITE, Access(0), Path("a/b"), PurePosixPath("/x"), ...]),
    st.sampled_from([File("in/x.csv"), File("y", 3, 5, b"\1" * 32), range(3, 9, 2), dt.UTC, ZoneInfo("Asia/Tokyo")]),
)
keys = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=4,
)
values = st.recursive(
    st.one_of(hashables, st.binary(max_size=5).map(bytearray), st.just(msgspec.UNSET), st.builds(slice, st.integers(), st.none())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(text, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Slotted, text, st.lists(inner, max_size=2)),
        st.builds(Pair, inner, inner),
        st.builds(Record, text, inner),
        st.builds(Fixed, name=text, data=inner),
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same to anyone who looks: types at every depth, order of dicts, nan, -0.0, fold, zone."""
    if type(a) is not type(b) or a is b:
        return type(a) is type(b)
    if type(a) is float:
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    if isinstance(a, msgspec.Struct):
        return all(same(getattr(a, name), getattr(b, name)) for name in a.__struct_fields__)
    return _same_leaf(a, b)


def _same_leaf(a: Any, b: Any) -> bool:
    if type(a) is File:
        return (a.path, a.size, a.mtime_ns, a.digest) == (b.path, b.size, b.mtime_ns, b.digest)
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, (dt.datetime, dt.time)):
        return repr(a) == repr(b)
    return bool(a == b) and (str(a) == str(b) or isinstance(a, (UUID, slice)))
