"""Values, times and ids as people read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ashore.events import AttemptFailed, EffectAnswered, Failure, Printed, Reported, StepStarted

SHORT: Final = 8
"""Digits of an id that are shown at least."""

_VALUE_SHOWN: Final = 200
"""Characters of a parameter's value that are shown."""


def duration(seconds: float | None) -> str:
    """ "0.3 ms", "12 ms", "1.20 s", "2 min 03 s", "1 h 02 min"."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(at: float | None) -> str:
    """Local time, to the second."""
    return "" if at is None else datetime.fromtimestamp(at).isoformat(sep=" ", timespec="seconds")  # noqa: DTZ006  # for people, here


def size(count: int | None) -> str:
    """ "812 bytes", "1.4 MB"."""
    if count is None:
        return ""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    amount, unit = count / 1e3, "kB"
    for larger in ("MB", "GB"):
        if amount >= 999.5:
            amount, unit = amount / 1e3, larger
    return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"


def value_text(value: Any) -> str:
    """As JSON if it is nothing but JSON; else its repr, or how that fails."""
    if _is_json(value):
        return json.dumps(value, ensure_ascii=False)
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # a user's class may do anything
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def _is_json(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return all(type(key) is str for key in value) and all(_is_json(item) for item in value.values())
    if kind is list:
        return all(_is_json(item) for item in value)
    return kind in (str, int, float, bool, type(None))


def parameters(params: Mapping[str, Any]) -> str:
    """ "lr=0.1, file=inbox/jan.csv": parameters as `ashore.codec.show` gives them."""
    return ", ".join(f"{name}={_parameter(value)}" for name, value in params.items())


def _parameter(value: Any) -> str:
    if isinstance(value, dict) and "file" in value:
        return str(value["file"])
    if isinstance(value, list) and len(value) > 3 and all(isinstance(item, dict) and "file" in item for item in value):
        return f"[{value[0]['file']}, ... {value[-1]['file']}: {len(value)} files]"
    if isinstance(value, list):
        return f"[{', '.join(_parameter(item) for item in value)}]"[:_VALUE_SHOWN]
    text = value_text(value)
    return text if len(text) <= _VALUE_SHOWN else f"{text[: _VALUE_SHOWN - 3]}..."


def failure_line(failure: Failure) -> str:
    """Class, first line of the message, and where."""
    name = failure.classes[0].partition(":")[2] if failure.classes else "error"
    lines = failure.message.strip().split("\n", 1)
    return f"{name}: {lines[0]}{f' ({failure.where})' if failure.where else ''}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, each as wide as it has to be."""
    widths = [max([len(cell) for cell in column]) for column in zip(head, *rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]


def element_of(event: StepStarted | AttemptFailed | EffectAnswered | Reported | Printed) -> str:
    """ "[3]" of an element of a fan-out, else nothing."""
    return f"[{event.element}]" if event.element >= 0 else ""


def attempt_line(event: AttemptFailed) -> str:
    """What became of an attempt that is followed by another."""
    following = f"again in {duration(event.wait)}" if event.wait >= 0.05 else "again"
    return f"failed in attempt {event.attempt}: {failure_line(event.failure)}; {following}"


def report_line(event: Reported) -> str:
    """What an attempt said while it ran: the last value of each number, how far it is, whether something was kept."""
    last = {metric.name: metric.value for metric in event.metrics}
    said = [", ".join(f"{name}={value:.4g}" for name, value in last.items())] if last else []
    if event.progress is not None:
        said.append(progress_text(event.progress))
    if event.checkpoint is not None:
        said.append(f"checkpoint of {event.checkpoint.size:,} bytes")
    return f"reports {', '.join(said)}"


def progress_text(progress: tuple[float, float | None]) -> str:
    """ "3 of 10", or "3"."""
    done, total = progress
    return f"{done:g}" if total is None else f"{done:g} of {total:g}"
