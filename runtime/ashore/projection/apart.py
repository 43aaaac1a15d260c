"""Rows of events that stand by themselves, and of what steps report. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ashore.events import EnvironmentSeen, OwnerSeen, Reported, StepDefined
from ashore.projection.texts import json_text
from ashore_stores.index.changes import Row


def owner_row(event: OwnerSeen) -> Row:
    return (event.owner, event.pid, event.host, event.user, event.command, event.at)


def environment_row(event: EnvironmentSeen) -> Row:
    return (event.environment, event.python, event.platform, json_text(event.versions), event.commit)


def code_row(event: StepDefined) -> Row:
    row = (event.code, event.step, event.role, event.file, event.line, json_text(event.parts), event.doc)
    return (*row, json_text(event.places), json_text(event.unfollowed), json_text(event.ignored))


APART: Final[dict[type, tuple[str, Callable[[Any], Row]]]] = {
    OwnerSeen: ("owner", owner_row),
    EnvironmentSeen: ("environment", environment_row),
    StepDefined: ("code", code_row),
}
"""By kind of event: the table, and its row."""


def metric_rows(no: int, event: Reported, position: int) -> list[Row]:
    """The numbers of a report, in the order in which they were said."""
    return [
        (position, place, no, event.element, event.attempt, metric.name, metric.step, _number(metric.value), metric.at)
        for place, metric in enumerate(event.metrics)
    ]


def _number(value: float) -> float | None:
    """SQL has no NaN."""
    return None if value != value else value
