"""What the code of a run's steps uses and nobody could follow: a change there is not seen, and results are reused all the same."""

from __future__ import annotations

import json
from typing import Any, Final

from ashore.catalogue import Catalogue, PastRun
from ashore.faces.cli.terminal import DIM, Terminal, printable

_OF_CODES: Final = (
    "select distinct step, unfollowed from code where unfollowed <> '[]' and lower(hex(id)) in (select value from json_each(?)) "
    "order by step"
)


async def unfollowed_by(catalogue: Catalogue, run: PastRun[Any]) -> list[dict[str, str]]:
    """As the run's steps were taken then: step, what, where and what to do about it."""
    codes = json.dumps(sorted({one.code for one in run.invocations}))
    rows = await catalogue.sql(_OF_CODES, (codes,))
    return [
        {"step": step, "what": what, "where": where, "mend": mend} for step, text in rows for what, where, mend in json.loads(text)
    ]


def show_unfollowed(terminal: Terminal, unfollowed: list[dict[str, str]]) -> None:
    """A line for each, below the run."""
    if unfollowed:
        terminal.painted_result(f"\n{terminal.painted('not followed, so that a change there is not seen:', DIM)}")
    for one in unfollowed:
        terminal.painted_result(printable(f"  {one['step']}: {one['what']} ({one['where']}). {one['mend']}"))
