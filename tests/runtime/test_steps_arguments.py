"""Arguments made right or refused: values as given in Python, texts as given on the command line, handles by their types."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Protocol, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.annotations import compatible, conforms, element_of, name_of
from ashore.elements import each
from ashore.errors import WrongArgument
from ashore.files import File
from ashore.parameters import parsed, validated
from ashore.signatures import Parameter
from ashore.steps import step
from ashore.streams import Items, Stream


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclass
class Size:
    wide: int
    high: float = 1.0


class Table: ...


class SubTable(Table): ...


class Sized(Protocol):
    def size(self) -> int: ...


class Metrics(TypedDict):
    auc: float


Metres = NewType("Metres", float)


@step
def made() -> int:
    return 1


def parameter(annotation: Any, default: Any = inspect.Parameter.empty, kind: str = "POSITIONAL_OR_KEYWORD") -> Parameter:
    return Parameter("lr", getattr(inspect.Parameter, kind), default, annotation)


# --- Values.


@pytest.mark.parametrize(
    ("annotation", "given_", "got"),
    [
        (int, 3, 3),
        (float, 1, 1.0),
        (int, True, True),
        (str, "x", "x"),
        (int | None, None, None),
        (list[float], [1, 2], [1.0, 2.0]),
        (list[int], (1, 2), [1, 2]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[int], {1}, {1}),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (Literal["a", "b"], "a", "a"),
        (Colour, Colour.RED, Colour.RED),
        (Size, Size(1), Size(1)),
        (dt.date, dt.date(2024, 1, 2), dt.date(2024, 1, 2)),
        (File, File("x"), File("x")),
        (list[File], [File("x")], [File("x")]),
        (File | None, None, None),
        (Path, Path("x"), Path("x")),
        (Annotated[int, msgspec.Meta(gt=0)], 3, 3),
        (Stream[int], [1, 2], [1, 2]),
        (Any, 3, 3),
        (None, "anything", "anything"),
        (Sized, 3, 3),
        (Iterable[int], [1], [1]),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
    ],
)
def test_what_fits_comes_as_the_annotation_says(annotation: Any, given_: Any, got: Any) -> None:
    value = validated(parameter(annotation), given_)
    assert value == got
    assert type(value) is type(got)


@pytest.mark.parametrize(
    ("annotation", "given_", "shown"),
    [
        (int, "3", "'3'"),
        (int, 1.5, "1.5"),
        (float, "x", "'x'"),
        (str, 3, "3"),
        (int, None, "None"),
        (list[int], ["a"], "<list of 1>"),
        (list[int], 3, "3"),
        (dict[str, int], {"a": "b"}, "<dict of 1>"),
        (Literal["a", "b"], "c", "'c'"),
        (Table, 3, "3"),
        (Table, object(), "<object>"),
        (Table | None, 3, "3"),
        (Annotated[int, msgspec.Meta(gt=0)], "x", "'x'"),
    ],
)
def test_what_does_not_fit_says_what_where_and_how_to_mend_it(annotation: Any, given_: Any, shown: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        validated(parameter(annotation), given_)
    error = caught.value
    assert "`lr` takes" in error.what
    assert shown in error.what
    assert name_of(annotation) in error.what
    assert error.where.startswith(f"{__file__}:")
    assert "Pass" in error.mend


def test_the_step_and_the_call_s_line_are_named() -> None:
    @step
    def fit(lr: float) -> float:
        return lr

    call: Any = fit("x")  # type: ignore[call-overload]
    call.claim()
    with pytest.raises(WrongArgument, match=r"fit\(lr=\.\.\.\) takes float, and got 'x'") as caught:
        validated(fit.parameters[0], "x", call.bound.where)
    assert caught.value.where == f"{__file__}:{call.line}"


@pytest.mark.parametrize(("annotation", "given_"), [(File, "x.csv"), (File, Path("x.csv")), (File | None, "x.csv")])
def test_a_path_is_not_a_file(annotation: Any, given_: Any) -> None:
    with pytest.raises(WrongArgument, match=r"a path .* is not a File.*Write lr=File\('x\.csv'\)"):
        validated(parameter(annotation), given_)


@pytest.mark.parametrize("given_", [["x.csv"], "x.csv", [File("a"), Path("b")]])
def test_paths_are_not_files(given_: Any) -> None:
    with pytest.raises(WrongArgument, match=r"Write lr=\[File\(path\) for path in \.\.\.\]"):
        validated(parameter(list[File]), given_)


def test_limits_of_annotated_types_are_kept() -> None:
    with pytest.raises(WrongArgument):
        validated(parameter(Annotated[int, msgspec.Meta(gt=0)]), -1)


def test_every_element_of_a_long_list_is_looked_at() -> None:
    with pytest.raises(WrongArgument, match=r"\[200\]"):
        validated(parameter(list[int]), [*[1] * 200, "x"])


def test_an_argument_that_stays_the_default_is_not_checked() -> None:
    assert validated(parameter(int, default=None), None) is None


def test_handles_and_what_holds_them_are_left_alone() -> None:
    handle = made()
    handle.claim()
    for value in (handle, [handle], {"a": (handle, 1)}, each([1]), [[handle, "text"]]):
        assert validated(parameter(list[int]), value) is value


def test_values_of_types_nobody_knows_pass_as_they_are() -> None:
    table = SubTable()
    assert validated(parameter(Table), table) is table
    assert validated(parameter(list[Table]), [table])[0] is table
    assert validated(parameter(Table | int), table) is table


def test_stars_are_checked_one_by_one() -> None:
    assert validated(parameter(float, kind="VAR_POSITIONAL"), (1, 2)) == (1.0, 2.0)
    assert validated(parameter(float, kind="VAR_KEYWORD"), {"a": 1}) == {"a": 1.0}
    with pytest.raises(WrongArgument):
        validated(parameter(float, kind="VAR_POSITIONAL"), (1, "x"))


def test_numpy_scalars_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    for annotation, given_, got in [
        (float, numpy.float64(0.5), 0.5),
        (float, numpy.float32(0.5), 0.5),
        (float, numpy.int64(2), 2.0),
        (int, numpy.int32(2), 2),
        (bool, numpy.bool_(True), True),
        (None, numpy.int64(2), 2),
        (list[float], [numpy.float64(0.5), 1], [0.5, 1.0]),
        (dict[str, int], {"a": numpy.int64(2)}, {"a": 2}),
    ]:
        value = validated(parameter(annotation), given_)
        assert value == got
        assert type(value) is type(got)
    assert type(validated(parameter(list[float]), [numpy.float64(0.5)])[0]) is float
    with pytest.raises(WrongArgument):
        validated(parameter(int), numpy.float64(0.5))


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers()), st.none(), st.booleans()))
def test_a_value_that_was_made_right_stays_as_it_is(value: Any) -> None:
    for annotation in (int, float, str, list[int], int | None, dict[str, int]):
        try:
            once = validated(parameter(annotation), value)
        except WrongArgument:
            continue
        assert validated(parameter(annotation), once) == once
        assert conforms(annotation, once)


# --- Texts.


@pytest.mark.parametrize(
    ("annotation", "text", "got"),
    [
        (int, "3", 3),
        (float, "0.1", 0.1),
        (float, "1e-3", 0.001),
        (bool, "true", True),
        (bool, "0", False),
        (str, "3", "3"),
        (str, "[1]", "[1]"),
        (int | None, "3", 3),
        (int | None, "null", None),
        (str | None, "x", "x"),
        (int | float, "3", 3),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (Colour, "RED", Colour.RED),
        (Colour, "b", Colour.BLUE),
        (dt.date, "2024-01-02", dt.date(2024, 1, 2)),
        (dt.datetime, "2024-01-02T03:04:05", dt.datetime(2024, 1, 2, 3, 4, 5)),  # noqa: DTZ001
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, float], '{"a": 1}', {"a": 1.0}),
        (Size, '{"wide": 3}', Size(3)),
        (Size | None, '{"wide": 3}', Size(3)),
        (File, "in box/a.csv", File("in box/a.csv")),
        (File | None, "a.csv", File("a.csv")),
        (list[File], "a.csv", [File("a.csv")]),
        (list[File], '["a.csv", "b.csv"]', [File("a.csv"), File("b.csv")]),
        (None, "3", 3),
        (None, "x", "x"),
        (None, "[1, null]", [1, None]),
        (Any, "true", True),
        (Path, "a/b", Path("a/b")),
    ],
)
def test_texts_are_read_as_the_type_says(annotation: Any, text: str, got: Any) -> None:
    value = parsed(parameter(annotation), text)
    assert value == got
    assert type(value) is type(got)


def test_patterns_are_expanded_for_lists_of_files() -> None:
    assert parsed(parameter(list[File]), "*.csv", lambda pattern: ["a.csv", "b.csv"]) == [File("a.csv"), File("b.csv")]


@pytest.mark.parametrize(
    ("annotation", "text", "name"),
    [
        (int, "x", "int"),
        (float, "", "float"),
        (bool, "perhaps", "bool"),
        (Literal["a", "b"], "c", "Literal"),
        (dt.date, "yesterday", "date"),
        (list[int], '["a"]', "list"),
        (list[int], "[1", "list"),
        (Colour, "GREEN", "Colour"),
        (Table, "x", "Table"),
        (File, "", "File"),
    ],
)
def test_texts_that_cannot_be_read_say_so(annotation: Any, text: str, name: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        parsed(parameter(annotation), text)
    assert f"lr={text!r} is no {name}" in caught.value.what
    assert caught.value.mend.startswith("Write lr=")


# --- Types of handles against types of parameters.


@pytest.mark.parametrize(
    ("produced", "wanted", "answer"),
    [
        (int, int, True),
        (bool, int, True),
        (int, float, True),
        (int, complex, True),
        (SubTable, Table, True),
        (int, object, True),
        (int, int | None, True),
        (type(None), int | None, True),
        (int | None, int | None, True),
        (list[bool], list[int], True),
        (list[int], list, True),
        (list[int], Sequence[int], True),
        (list[int], Iterable[float], True),
        (tuple[int, str], tuple[int, str], True),
        (tuple[int, int], tuple[int, ...], True),
        (tuple[int, int], Sequence[int], True),
        (dict[str, int], Mapping[str, float], True),
        (list[bytes], Stream[bytes], True),
        (Items[bytes], Stream[bytes], True),
        (Literal["a"], Literal["a", "b"], True),
        (Literal["a"], str, True),
        (Metres, float, True),
        (Annotated[int, "m"], int, True),
        (int, str, False),
        (str, int, False),
        (Table, File, False),
        (str, File, False),
        (float, int, False),
        (type(None), int, False),
        (dict[str, float], Table, False),
        (list[str], list[int], False),
        (list[Table], Table, False),
        (Table, list[Table], False),
        (tuple[int, str], tuple[str, int], False),
        (tuple[int, str], tuple[int, str, int], False),
        (dict[str, str], dict[str, int], False),
        (list[str], Stream[bytes], False),
        (str, int | float, False),
        (int | str, Table | None, False),
        (Literal["a"], int, False),
        (Literal["a"], Literal["b"], False),
        (int, Literal["a"], False),
        (Any, int, None),
        (int, Any, None),
        (None, int, None),
        (int, None, None),
        (Table, SubTable, None),
        (object, int, None),
        (int | None, int, None),
        (list, list[int], None),
        (Table, Sized, None),
        (Metrics, dict[str, float], None),
        (str, Literal["a"], None),
        ("unresolved", int, None),
    ],
)
def test_whether_a_handle_fits_a_parameter(produced: Any, wanted: Any, answer: bool | None) -> None:
    assert compatible(produced, wanted) is answer


@pytest.mark.parametrize(
    ("annotation", "value", "answer"),
    [
        (int, 1, True),
        (int, True, True),
        (float, 1, True),
        (int, 1.5, False),
        (str, 1, False),
        (type(None), None, True),
        (type(None), 1, False),
        (int | None, None, True),
        (int | None, "x", False),
        (list[int], [1, 2], True),
        (list[int], ["a"], False),
        (list[int], (1,), False),
        (dict[str, float], {"a": 1}, True),
        (dict[str, float], {"a": "b"}, False),
        (dict[str, float], {1: 1.0}, False),
        (tuple[int, str], (1, "x"), True),
        (tuple[int, str], (1, 2), False),
        (tuple[int, str], (1,), False),
        (tuple[int, ...], (1, 2, 3), True),
        (tuple[int, ...], (1, "x"), False),
        (tuple[()], (), True),
        (list[list[int]], [[1], ["x"]], False),
        (Table, SubTable(), True),
        (Table, 1, False),
        (Literal["a"], "a", True),
        (Literal["a"], "b", False),
        (Any, object(), True),
        (None, object(), True),
        (Sized, object(), True),
        (Metrics, {"auc": 1.0}, True),
        (Annotated[int, []], 1, True),
        (Metres, 1.0, True),
        (Stream[int], Items([1]), True),
    ],
)
def test_whether_a_result_is_what_its_annotation_says(annotation: Any, value: Any, answer: bool) -> None:
    assert conforms(annotation, value) is answer


def test_numpy_results_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert conforms(float, numpy.float32(1))
    assert conforms(int, numpy.int64(1))
    assert not conforms(int, numpy.float64(1))


def test_the_type_of_elements() -> None:
    assert element_of(list[int]) is int
    assert element_of(Stream[str]) is str
    assert element_of(tuple[int, ...]) is int
    assert element_of(tuple[int, str]) is None
    assert element_of(dict[str, int]) is None
    assert element_of(int) is None
    assert element_of(None) is None


def test_types_are_named_as_people_write_them() -> None:
    assert [name_of(kind) for kind in (int, type(None), Table)] == ["int", "None", "Table"]
    assert [name_of(kind) for kind in (list[int], int | None)] == ["list[int]", "int | None"]
