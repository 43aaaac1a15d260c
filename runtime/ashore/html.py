"""What notebooks show of our objects: short tables, everything escaped, nothing loaded from anywhere.

No colours of our own, so that light and dark pages read alike: what matters less is only fainter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

ROWS_SHOWN: Final = 30
TEXT_SHOWN: Final = 200
"""Characters of one value that are shown."""

_FAINT: Final = "opacity:.65"
_CELL: Final = "text-align:left;vertical-align:top;padding:.1em .7em .1em 0"


def text(value: Any) -> str:
    """A value as text: escaped, on one line, without control characters, not too long."""
    shown = value if isinstance(value, str) else str(value)
    if len(shown) > TEXT_SHOWN:
        shown = f"{shown[: TEXT_SHOWN - 3]}..."
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown)
    return escape(shown)


def code(value: Any) -> str:
    """As `text`, in the type of code."""
    return f"<code>{text(value)}</code>"


def faint(value: Any) -> str:
    return f'<span style="{_FAINT}">{text(value)}</span>'


def seconds(value: float | None) -> str:
    return "" if value is None else f"{max(value, 0.0):.3g} s"


def moment(at: float | None) -> str:
    """Local time, to the second."""
    return "" if at is None else datetime.fromtimestamp(at).isoformat(sep=" ", timespec="seconds")  # noqa: DTZ006  # for people


def title(kind: str, name: Any, id: str, state: str = "") -> str:
    """A heading: what it is, its name, its id, how it is."""
    return f"<p>{faint(kind)} <b>{text(name)}</b> {code(id)} {text(state)}</p>"


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values below one another; those without a value are left out."""
    rows = [
        f'<tr><th style="{_CELL};{_FAINT}">{text(name)}</th><td style="{_CELL}">{text(value)}</td></tr>'
        for name, value in pairs
        if value not in (None, "")
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], total: int | None = None, noun: str = "rows") -> str:
    """Rows of values, the first `ROWS_SHOWN`, and how many more of `total` (default: of these) there are."""
    names = "".join(f'<th style="{_CELL}">{text(name)}</th>' for name in head)
    shown = [_row(row) for row in rows[:ROWS_SHOWN]]
    more = (len(rows) if total is None else total) - len(shown)
    last = f"<p>{faint(f'{more:,} more {noun}')}</p>" if more > 0 else ""
    return f"<table><tr>{names}</tr>{''.join(shown)}</table>{last}"


def _row(cells: Sequence[Any]) -> str:
    return "<tr>" + "".join([f'<td style="{_CELL}">{text(cell)}</td>' for cell in cells]) + "</tr>"


def block(value: str) -> str:
    """Several lines, as they are."""
    lines = value.split("\n")
    kept = lines[:ROWS_SHOWN]
    return "<pre>" + "\n".join([*map(text, kept), *["..."][: len(lines) - len(kept)]]) + "</pre>"
