"""numpy scalars in encoded values."""

from __future__ import annotations

import sys

import pytest

from ashore.codec import Undecodable, Unencodable, decode, encode, is_plain, show

np = pytest.importorskip("numpy")


def test_scalars_stay_what_they_are() -> None:
    scalars = [
        np.float64(0.5),
        np.int32(3),
        np.bool_(True),
        np.complex64(1j),
        np.datetime64("2026-01-01", "ns"),
        np.str_("é"),
        np.float16(2),
    ]
    back = decode(encode(scalars))
    assert back == scalars
    assert [(type(a), a.dtype) for a in back] == [(type(a), a.dtype) for a in scalars]
    assert show(encode(scalars))[:3] == [0.5, 3, True]
    assert not is_plain([np.float64(1)])


def test_scalars_are_numbers_as_parameters() -> None:
    given = {"lr": np.float64(0.1), "n": [np.int64(3), np.bool_(False)]}
    assert encode(given, numbers=True) == encode({"lr": 0.1, "n": [3, False]})


@pytest.mark.parametrize("value", [np.longdouble(1), np.zeros(3), np.array([(1,)], "i4,")[0]])
def test_what_is_no_portable_scalar_is_refused(value: object) -> None:
    with pytest.raises(Unencodable, match=r"numpy\."):
        encode([value])


def test_without_numpy_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(np.float64(1))
    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(Undecodable, match="`import numpy` first") as caught:
        decode(data)
    assert caught.value.module == "numpy"
