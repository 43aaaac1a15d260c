"""What a check finds."""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple

from ashore.errors import AshoreError

PROBLEM, NOTE = "problem", "note"


class Problem(NamedTuple):
    """Something that would go wrong when it runs, or, a note, that may."""

    level: str
    where: str
    """ "file:line"."""
    what: str
    mend: str
    of: str
    """The step or pipeline that it is about; "" if it is the file."""


def of_error(error: AshoreError, where: str, of: str) -> Problem:
    """What one of our own errors says; it stands at `where` if it does not say itself."""
    return Problem(PROBLEM, error.where or where, error.what, error.mend, of)


def line_in(file: str, trace: TracebackType | None) -> str:
    """ "file:line" of the last frame of a traceback that is in this file; "" if there is none."""
    found = ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
