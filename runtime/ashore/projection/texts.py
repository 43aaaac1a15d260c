"""What people read in the index: parameters as JSON, failures as a line, a place and a traceback."""

from __future__ import annotations

import json
from typing import Any, Final

from ashore.codec import Undecodable, show
from ashore.events import Failure

SHOWN_LENGTH: Final = 4096
"""Longer parameters are shortened in the index; the log has them whole."""
_BEGINNING: Final = 400


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def shown(params: tuple[tuple[str, bytes], ...]) -> str:
    """Encoded parameters as a JSON object."""
    return "{" + ",".join([f"{json_text(name)}:{_value(data)}" for name, data in params]) + "}"


def _value(data: bytes) -> str:
    try:
        text = json_text(show(data))
    except (Undecodable, ValueError):
        return json_text(f"not readable by this version ({len(data)} bytes)")
    return text if len(text) <= SHOWN_LENGTH else json_text(f"{text[:_BEGINNING]}...")


def told(failure: Failure | None) -> tuple[str | None, str | None, str | None]:
    """A failure as "ValueError: no rows", "flights.py:12", and the traceback with its notes."""
    if failure is None:
        return None, None, None
    name = failure.classes[0].partition(":")[2] if failure.classes else ""
    error = f"{name}: {failure.message}" if name and failure.message else name or failure.message
    notes = [note for note in failure.notes if note not in failure.traceback]  # Python prints them with the traceback
    return error, failure.where or None, "\n".join([failure.traceback.strip("\n"), *notes]).strip("\n") or None
