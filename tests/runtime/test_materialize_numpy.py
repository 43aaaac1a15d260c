"""Arrays: exact, read-only, without a copy; what is refused; hostile files."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.materialize import Unloadable, Unserialisable, dump_value, load_value, may_share

np = pytest.importorskip("numpy")

from tests.runtime.samples import numpy as sample  # noqa: E402  # needs numpy

LARGE = 1 << 30


def bytes_of(value: Any) -> bytes:
    data = dump_value(value, limit=LARGE).data
    assert data is not None
    return data


@pytest.mark.parametrize("name", [name for name in sample.samples() if name != "in containers"])
def test_arrays_are_the_same_and_numpy_reads_the_file(name: str) -> None:
    value = sample.samples()[name]
    data = bytes_of(value)
    for loaded in (load_value("npy/1", data), np.load(io.BytesIO(data), allow_pickle=False)):
        assert (loaded.dtype, loaded.shape) == (value.dtype, value.shape)
        assert loaded.tobytes() == value.tobytes() or value.dtype.fields
        np.testing.assert_array_equal(loaded, value)
    assert load_value("npy/1", data).flags.f_contiguous == value.flags.f_contiguous or not value.flags.contiguous


def test_what_numpy_wrote_is_read() -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        sink = io.BytesIO()
        np.lib.format.write_array(sink, np.arange(6).reshape(2, 3).T, version=version)
        assert load_value("npy/1", sink.getvalue()).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_loaded_arrays_are_views_that_nobody_can_write_to() -> None:
    data = bytes_of(np.arange(1000))
    loaded = load_value("npy/1", memoryview(data))
    assert np.shares_memory(loaded, np.frombuffer(data, "u1"))
    assert may_share("npy/1", loaded)
    with pytest.raises(ValueError, match="read-only"):
        loaded[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        loaded.flags.writeable = True
    assert not load_value("npy/1", bytearray(data)).flags.writeable


def test_what_lies_between_fields_does_not_count() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, other = (np.frombuffer(bytes([fill]) * dtype.itemsize, dtype).copy() for fill in (0, 255))
    for array in (one, other):
        array["a"], array["b"] = 1, 2
    assert one.tobytes() != other.tobytes()
    assert bytes_of(one) == bytes_of(other)


def test_a_large_array_is_not_dumped_to_find_out_that_it_is_large() -> None:
    dumped = dump_value(np.zeros(1000), limit=1000)
    assert (dumped.data, dumped.size, dumped.type) == (None, 8000, "numpy.ndarray")


REFUSED: list[tuple[Any, str]] = [
    (np.array([object()]), "dtype object holds Python objects"),
    (np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]), "holds Python objects"),
    (np.zeros(3, np.longdouble), "not the same on every machine"),
    (np.zeros(3, np.dtype("i4", metadata={"unit": "m"})), "would not come back the same"),
    (np.array(["a"], np.dtypes.StringDType()) if hasattr(np.dtypes, "StringDType") else np.zeros(3, object), "dtype"),
    (np.ma.masked_array([1, 2], [0, 1]), "a MaskedArray is a subclass"),
    (np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "a recarray is a subclass"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=[message[:20] for _, message in REFUSED])
def test_what_would_not_come_back_the_same_is_refused(value: Any, message: str) -> None:
    with pytest.raises(Unserialisable, match=message):
        dump_value(value, limit=LARGE)
    with pytest.raises(Unserialisable, match=r"result\['x'\]\[0\]"):
        dump_value({"x": [value]}, limit=LARGE)


class Evil:
    def __reduce__(self) -> Any:
        return (sys.exit, ("ran",))


def pickled() -> bytes:
    sink = io.BytesIO()
    np.lib.format.write_array(sink, np.array([Evil()], object), allow_pickle=True)
    return sink.getvalue()


def header(text: str, version: int = 3) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(4, "little") + text.encode()


HOSTILE = [
    pickled(),
    pickle.dumps(Evil()),
    header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"\0" * 8,
    header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }") + b"\0" * 8,
    header("__import__('os').system('true')"),
    header("{'descr': '<f8', 'fortran_order': False, 'shape': (1 << 40,), }"),
    header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
    header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"),
    header("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }") + b"\0" * 8,
    header("(" * 5000),
    header("{}"),
    b"\x93NUMPY\x03\x00\xff\xff\xff\xff",
    b"",
]


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_files_are_refused_and_nothing_runs(data: bytes) -> None:
    ran: list[str] = []
    armed = True

    def hook(event: str, _args: tuple[Any, ...]) -> None:
        if armed and event in ("import", "pickle.find_class", "os.system", "exec"):
            ran.append(event)

    sys.addaudithook(hook)
    with pytest.raises(Unloadable):
        load_value("npy/1", data)
    armed = False
    assert ran == []


@given(st.integers(0, 8 * 200))
def test_a_flipped_bit_or_a_cut_is_another_array_or_unloadable(bit: int) -> None:
    data = bytearray(bytes_of(np.arange(9.0)))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    for damaged in (bytes(data), bytes(data[: bit // 8])):
        try:
            loaded = load_value("npy/1", damaged)
        except Unloadable:
            continue
        assert isinstance(loaded, np.ndarray)
        assert not loaded.dtype.hasobject
