"""Runs as they are named on the command line, and ids as short as they may be."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

from ashore.catalogue import Catalogue, Invocation, NotFound, PastRun
from ashore.faces.cli.texts import SHORT

_LAST: Final = "@last"


async def found_run(catalogue: Catalogue, name: str) -> PastRun[Any]:
    """The run of this id, or the beginning of it, or "@last", or "@last:PIPELINE". Raises `NotFound`."""
    last, colon, pipeline = name.partition(":")
    if last == _LAST and colon:
        return await catalogue.runs(pipeline).last()
    return await catalogue.run(name)


def one_call(run: PastRun[Any], step: str) -> Invocation[Any]:
    """The one call of this step in a run, or the call of this id. Raises `NotFound` if there is none, or more than one."""
    of_id = [one for one in run.invocations if one.id.startswith(step.partition(":")[0])]
    if step not in run and len(of_id) == 1:
        return of_id[0]
    found = run[step]
    if len(found) == 1:
        return found[0]
    what = f"{step} was called {len(found):,} times in run {run.id[:SHORT]}"
    raise NotFound(what, mend=f"Name one by its id: ashore artifacts {run.id[:SHORT]} --step {step}")


class Short:
    """Ids as short as they are told apart by, at least 8 digits, by all ids that have to be told apart."""

    def __init__(self, ids: Iterable[str]) -> None:
        ordered = sorted(set(ids))
        self._lengths = dict.fromkeys(ordered, SHORT)
        for one, next_one in pairwise(ordered):
            needed = _common(one, next_one) + 1
            self._lengths[one] = max(self._lengths[one], needed)
            self._lengths[next_one] = max(self._lengths[next_one], needed)

    def __getitem__(self, id: str) -> str:
        return id[: self._lengths.get(id, SHORT)]


def _common(one: str, other: str) -> int:
    length = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        length += 1
    return length
