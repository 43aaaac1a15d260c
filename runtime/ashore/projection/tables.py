"""Tables whose rows are told as they come, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ashore_stores.index.changes import (
    ARRIVAL,
    AWAITED,
    CALL,
    CODE,
    ENVIRONMENT,
    FORM,
    GIVEN,
    MADE_OF,
    METRIC,
    OUTPUT,
    OWNER,
    READING,
    TAG,
    TROUBLE,
    USE,
    Keep,
    Put,
    Row,
    Table,
)

APPENDED: Final[dict[Table, Callable[[Table, Sequence[Row]], Put | Keep]]] = {
    CALL: Keep,
    FORM: Keep,
    OUTPUT: Put,
    TROUBLE: Put,
    USE: Keep,
    READING: Keep,
    GIVEN: Keep,
    ARRIVAL: Put,
    TAG: Put,
    OWNER: Put,
    ENVIRONMENT: Put,
    CODE: Put,
    METRIC: Put,
    AWAITED: Keep,
    MADE_OF: Keep,
}
