"""The heads of tables, arrays and whatever else has a library of its own: a few rows for people, the same for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from ashore.faces.cli.results import any_json
from ashore.faces.cli.terminal import printable
from ashore.faces.cli.texts import plural, table, value_text

_CELL_SHOWN: Final = 40
"""Characters of a cell that are shown."""


class Head(NamedTuple):
    """The first rows of a table."""

    columns: list[str]
    types: list[str]
    rows: list[Sequence[Any]]
    total: int
    """How many rows there are in all."""

    def text(self) -> str:
        cells = [[_cell(value) for value in row] for row in self.rows]
        heads = [[_cell(name) for name in self.columns], [_cell(kind) for kind in self.types]]
        lines = table(heads[0], [heads[1], *cells]) if self.columns else []
        more = self.total - len(self.rows)
        last = f"{plural(self.total, 'row')}, {plural(len(self.columns), 'column')}"
        return "\n".join([*lines, f"{last}{f', {more:,} not shown' if more else ''}"])

    def json(self) -> dict[str, Any]:
        columns = [{"name": name, "type": kind} for name, kind in zip(self.columns, self.types, strict=True)]
        return {"columns": columns, "rows": [[any_json(value) for value in row] for row in self.rows], "count": self.total}


def head_of(value: Any, rows: int) -> Head | None:
    """The head of a table; None for anything else."""
    cls = type(value)
    look = _HEADS.get((cls.__module__.partition(".")[0], cls.__name__))
    return look(value, rows) if look is not None else None


def value_or_head_text(value: Any, rows: int) -> str:
    """A value for people: tables as their head, text as it is, plain values as JSON, anything else as its repr."""
    head = head_of(value, rows)
    if head is not None:
        return head.text()
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "shape"):
        return f"{value!r}\nshape {value.shape}, dtype {value.dtype}"
    return value if type(value) is str else value_text(value)


def value_or_head_json(value: Any, rows: int) -> Any:
    """The same for programs."""
    head = head_of(value, rows)
    return any_json(value) if head is None else head.json()


def _cell(value: Any) -> str:
    text = printable(value if isinstance(value, str) else str(value))
    return text if len(text) <= _CELL_SHOWN else f"{text[: _CELL_SHOWN - 3]}..."


def _pandas_frame(value: Any, rows: int) -> Head:
    head = value.iloc[:rows]
    columns = [head.index, *(head.iloc[:, place] for place in range(head.shape[1]))]
    names = [_index_name(value.index), *map(str, value.columns)]
    return Head(names, [str(column.dtype) for column in columns], _zipped(columns), len(value))


def _pandas_series(value: Any, rows: int) -> Head:
    head = value.iloc[:rows]
    names = [_index_name(value.index), "" if value.name is None else str(value.name)]
    return Head(names, [str(head.index.dtype), str(head.dtype)], _zipped([head.index, head]), len(value))


def _index_name(index: Any) -> str:
    return "" if index.name is None else str(index.name)


def _polars_frame(value: Any, rows: int) -> Head:
    return Head(value.columns, [str(kind) for kind in value.dtypes], value.head(rows).rows(), value.height)


def _polars_series(value: Any, rows: int) -> Head:
    return Head([value.name], [str(value.dtype)], [(item,) for item in value.head(rows)], len(value))


def _arrow_table(value: Any, rows: int) -> Head:
    head = value.slice(0, rows)
    columns = [column.to_pylist() for column in head.columns]
    return Head(list(value.schema.names), [str(field.type) for field in value.schema], _zipped(columns), value.num_rows)


def _zipped(columns: Iterable[Iterable[Any]]) -> list[Sequence[Any]]:
    return list(zip(*columns, strict=True))


_HEADS: Final[dict[tuple[str, str], Callable[[Any, int], Head]]] = {
    ("pandas", "DataFrame"): _pandas_frame,
    ("pandas", "Series"): _pandas_series,
    ("polars", "DataFrame"): _polars_frame,
    ("polars", "Series"): _polars_series,
    ("pyarrow", "Table"): _arrow_table,
    ("pyarrow", "RecordBatch"): _arrow_table,
}
