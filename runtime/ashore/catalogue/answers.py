"""What a question in SQL gives."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ashore import html
from ashore.catalogue.projector import Freshness
from ashore_stores.index.base import Rows

if TYPE_CHECKING:
    import pandas as pd


class Answer:
    """Rows of the index, and how fresh they are."""

    def __init__(self, rows: Rows, freshness: Freshness) -> None:
        self.columns = rows.columns
        self.rows = rows.rows
        self.freshness = freshness

    @property
    def behind(self) -> int:
        """How many events, durable when it was asked, it does not see."""
        return self.freshness.behind

    @property
    def notes(self) -> tuple[str, ...]:
        return self.freshness.notes

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def __getitem__(self, place: int) -> tuple[Any, ...]:
        return self.rows[place]

    def __repr__(self) -> str:
        late = f", {self.freshness}" if self.behind else ""
        return f"<Answer {len(self.rows)} rows of {', '.join(self.columns)}{late}>"

    def records(self) -> list[dict[str, Any]]:
        """Each row by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def df(self) -> pd.DataFrame:
        """As a pandas data frame."""
        frame: pd.DataFrame = importlib.import_module("pandas").DataFrame(self.rows, columns=list(self.columns))
        return frame

    def _repr_html_(self) -> str:
        late = f"<p>{html.faint(self.freshness)}</p>" if self.behind else ""
        rows = [["" if value is None else _shown(value) for value in row] for row in self.rows[: html.ROWS_SHOWN]]
        return html.table(self.columns, rows, len(self.rows)) + late


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
